"""A generator in a thread of its own, its pieces on the event loop, as they come.

In: a generator and a prompt. Out: an async iterator of pieces. Closing it stops the generation, and returns only when
the thread has really ended: the model is then free for the next query. Raises what the generator raises.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import Executor

from workers.extract.passages import sentences
from workers.generation.prompt import STOP
from workers.models.base import Generator

_END = None


async def pieces(generator: Generator, prompt: str, max_tokens: int, executor: Executor) -> AsyncGenerator[str]:
    """What ``generator`` continues ``prompt`` with; ``executor`` has one thread, the model's own."""
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[str | None] = asyncio.Queue()
    stopped = threading.Event()

    def write() -> None:
        try:
            for piece in generator.stream(prompt, max_tokens=max_tokens, stop=STOP):
                if stopped.is_set():  # leaving the loop drops the iterator, and so closes it
                    break
                loop.call_soon_threadsafe(arrived.put_nowait, piece)
        finally:
            loop.call_soon_threadsafe(arrived.put_nowait, _END)

    writing = loop.run_in_executor(executor, write)
    try:
        while (piece := await arrived.get()) is not _END:
            yield piece
        await writing
    finally:
        stopped.set()
        await asyncio.wait([writing])
        if not writing.cancelled():
            writing.exception()  # seen: raised above, or no longer of interest


async def whole_sentences(stream: AsyncIterator[str]) -> AsyncGenerator[str]:
    """The sentences of a stream of pieces, each as soon as the next one begins or the stream ends."""
    pending = ""
    async for piece in stream:
        pending += piece
        places = list(sentences(pending))
        if len(places) > 1:
            for start, end in places[:-1]:
                yield pending[start:end]
            pending = pending[places[-1][0] :]
    if pending.strip():
        yield pending.strip()
