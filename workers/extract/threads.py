"""Blocking work off the event loop, without leaving any of it behind when a task is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
_END: Final = object()


async def in_thread(fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """``fn(*args)`` in a thread. When cancelled it still waits for the call's end: a thread cannot be stopped."""
    task = asyncio.ensure_future(asyncio.to_thread(fn, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # retrieved: nobody waits for it any more
        raise


async def steps(iterator: Iterator[T]) -> AsyncGenerator[T, None]:
    """The items of a blocking iterator, each made in a thread, one ahead of what the consumer works on.

    Closing it closes the iterator, after the step under way has ended.
    """
    ahead: asyncio.Task[T | object] = asyncio.create_task(in_thread(next, iterator, _END))
    try:
        while (item := await ahead) is not _END:
            ahead = asyncio.create_task(in_thread(next, iterator, _END))
            yield item  # type: ignore[misc]  # not the end mark, so a T
    finally:
        if not ahead.done():
            await asyncio.wait([ahead])
        if not ahead.cancelled():
            ahead.exception()
        close = getattr(iterator, "close", None)
        if close is not None:
            await in_thread(close)


class InThreads:
    """Reads a document in this process, for those who trust it: what ``workers.sandbox`` does, without its bounds."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def call(self, work: Callable[Concatenate[Any, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """``work(document, *args)``."""
        return await in_thread(work, self._data, *args, **kwargs)

    async def each(
        self, work: Callable[Concatenate[Any, P], Iterator[T]], *args: P.args, **kwargs: P.kwargs
    ) -> AsyncGenerator[T, None]:
        """The items of ``work(document, *args)``."""
        async with aclosing(steps(work(self._data, *args, **kwargs))) as items:
            async for item in items:
                yield item
