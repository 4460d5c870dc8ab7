"""The decoder processes of a worker, and a document that is read in one of them.

In: a document's bytes, and functions that read them. Out: what the functions return. A function takes the document
first (``held.Data``), then arguments that can be pickled, is found under its name by another process, and returns, or
yields, what ``wire`` knows: text, numbers, tuples, lists, dataclasses, arrays.

Raises what the function raises if that is an ``InvalidEvent``, ``InvalidMedia`` for every other error of it and for a
process that dies on the document twice, ``LimitExceeded`` for one that took too much, ``TransientError`` where no
process can be started.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from workers import errors
from workers.errors import InvalidEvent, InvalidMedia
from workers.limits import Limits
from workers.sandbox.bounds import Bounds
from workers.sandbox.child import Call, Next
from workers.sandbox.held import document_file
from workers.sandbox.process import Decoder, DecoderDied
from workers.sandbox.wire import Answer, Kind, decoded, result_type

P = ParamSpec("P")
T = TypeVar("T")
_PROCESSES: Final = 2
"""As many as documents are in work at a time."""
_DOCUMENTS: Final = 1000
"""That one process decodes before it makes way for a fresh one."""
_FULL: Final = 0.6
"""The share of its memory that a process may keep between two documents."""
_GRACE_S: Final = 2.0
"""Seconds that a step which nobody waits for any more may go on; then its process is ended."""
_PACKAGES: Final = ("workers", "schemas")
_REFUSALS: Final = {
    name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, InvalidEvent)
}


class Decoders:
    """At most ``processes`` at a time, started when they are needed; who comes first is served first."""

    def __init__(self, bounds: Bounds, *, processes: int = _PROCESSES, packages: tuple[str, ...] = _PACKAGES) -> None:
        self.bounds = bounds
        self.peak_bytes = 0
        """The most that one of them was seen to hold in memory."""
        self.started = 0
        """Processes that were started so far."""
        self._packages = packages
        self._turns = _Turns(processes)
        self._idle: list[Decoder] = []

    @asynccontextmanager
    async def document(self, load: Callable[[], Awaitable[bytes]]) -> AsyncIterator[Document]:
        """The document that ``load`` gives when its turn has come; a process is kept for it until the end."""
        await self._turns.take()
        try:
            document = Document(self, await load())
            try:
                yield document
            finally:
                await document.close()
        finally:
            self._turns.give()

    async def warm(self) -> None:
        """Have a process ready before the first document comes."""
        await self._turns.take()
        try:
            if not self._idle:
                self._idle.append(await self.fresh())
        finally:
            self._turns.give()

    def close(self) -> None:
        """End those that are idle. Those at work end with their document; later documents start new ones."""
        while self._idle:
            self._idle.pop().end()

    async def taken(self) -> Decoder:
        """One that is idle, or a new one."""
        while self._idle:
            decoder = self._idle.pop()
            if decoder.is_alive:
                return decoder
            decoder.end()
        return await self.fresh()

    async def fresh(self) -> Decoder:
        """A new one."""
        self.started += 1
        return await Decoder.start(self.bounds, self._packages)

    def give_back(self, decoder: Decoder) -> None:
        """It is done with its document."""
        self.saw(decoder)
        most = self.bounds.memory_mib * 1024 * 1024 * _FULL
        if decoder.documents < _DOCUMENTS and decoder.holds_bytes() < most:
            self._idle.append(decoder)
        else:
            decoder.end()

    def saw(self, decoder: Decoder) -> None:
        """Remember what it held."""
        self.peak_bytes = max(self.peak_bytes, decoder.peak_bytes())


class Document:
    """One document and the process that reads it. Made by ``Decoders.document``."""

    def __init__(self, decoders: Decoders, data: bytes) -> None:
        self._decoders = decoders
        self._file = document_file(data)
        self._size = len(data)
        self._decoder: Decoder | None = None
        self._turn = asyncio.Lock()
        self._asked: set[asyncio.Task[Any]] = set()
        self._iterators = 0

    async def call(self, work: Callable[Concatenate[Any, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """``work(document, *args)``."""
        assert not kwargs, "arguments go by position"
        found: T = (await asyncio.shield(self._ask(Call(_name(work), args), work)))[1]
        return found

    async def each(
        self, work: Callable[Concatenate[Any, P], Iterator[T]], *args: P.args, **kwargs: P.kwargs
    ) -> AsyncGenerator[T, None]:
        """The items of ``work(document, *args)``, one ahead of what the consumer works on."""
        assert not kwargs, "arguments go by position"
        call = Call(_name(work), args)
        number = self._iterators = self._iterators + 1
        place = 0
        ahead = self._ask(Next(number, call, place), work)
        while True:
            kind, item = await asyncio.shield(ahead)
            if kind is Kind.END:
                return
            place += 1
            ahead = self._ask(Next(number, call, place), work)
            yield item

    async def close(self) -> None:
        """Give the process back; end it, if it works on and on for nobody."""
        try:
            if self._asked:
                await asyncio.wait(self._asked, timeout=_GRACE_S)
        finally:
            for task in self._asked:
                task.cancel()  # which ends the process
            await asyncio.gather(*self._asked, return_exceptions=True)
            if self._decoder is not None:
                self._decoder.done()
                self._decoders.give_back(self._decoder)
            os.close(self._file)

    def _ask(self, request: Call | Next, work: Callable[..., object]) -> asyncio.Task[tuple[Kind, Any]]:
        """In a task of its own: whoever waits may be cancelled, but an answer that is under way has to be read."""
        task = asyncio.ensure_future(self._answered(request, result_type(work)))
        self._asked.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._asked.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved: maybe nobody waits for it any more

    async def _answered(self, request: Call | Next, hint: Any) -> tuple[Kind, Any]:
        async with self._turn:
            try:
                answer = await self._once(request, is_fresh=False)
            except DecoderDied:
                # Its death may have been of another making; on a fresh one it is the document's.
                try:
                    answer = await self._once(request, is_fresh=True)
                except DecoderDied as died:
                    raise InvalidMedia(
                        f"decoder_killed: the process that decoded the document {died}, twice",
                        hint="check the file; it may be broken, or made to break programs",
                    ) from died
            try:
                return answer.kind, _value(answer, hint)
            except ValueError as error:
                if self._decoder is not None:
                    self._drop(self._decoder)
                raise InvalidMedia(f"decoder_killed: it talked nonsense: {error}", hint="check the file") from error

    async def _once(self, request: Call | Next, *, is_fresh: bool) -> Answer:
        decoder = self._decoder or await (self._decoders.fresh() if is_fresh else self._decoders.taken())
        try:
            if decoder is not self._decoder:
                self._decoder = decoder
                decoder.open(self._file, self._size)
            answer = await decoder.ask(request)
        except BaseException:
            self._drop(decoder)
            raise
        if answer.kind is Kind.MEMORY:
            self._drop(decoder)
            raise self._decoders.bounds.too_much_memory()
        return answer

    def _drop(self, decoder: Decoder) -> None:
        self._decoders.saw(decoder)
        self._decoder = None
        decoder.end()


class _Turns:
    """A fair semaphore that documents of several event loops may wait for."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._lock = threading.Lock()
        self._waiting: deque[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = deque()

    async def take(self) -> None:
        """Wait for a turn."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._free:
                self._free -= 1
                return
            turn = loop.create_future()
            self._waiting.append((loop, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give()
            raise

    def give(self) -> None:
        """The turn is over: whoever waits longest has it now."""
        with self._lock:
            while self._waiting:
                loop, turn = self._waiting.popleft()
                if not loop.is_closed():
                    loop.call_soon_threadsafe(self._grant, turn)
                    return
            self._free += 1

    def _grant(self, turn: asyncio.Future[None]) -> None:
        if turn.done():
            self.give()
        else:
            turn.set_result(None)


def _value(answer: Answer, hint: Any) -> Any:
    """What the answer says. Raises what it refuses with, and ``ValueError`` where it is not what was asked for."""
    if answer.kind is Kind.FAULT:
        raise RuntimeError(f"a decoder process cannot do what it was asked: {answer.value}")
    if answer.kind is Kind.END:
        return None
    value = decoded(answer.value, hint if answer.kind is Kind.VALUE else tuple[str, str, str], answer.buffers)
    if answer.kind is Kind.VALUE:
        return value
    name, reason, how = value
    raise _REFUSALS.get(name, InvalidMedia)(reason, hint=how)


def _name(work: Callable[..., object]) -> str:
    return f"{work.__module__}:{work.__qualname__}"


@cache
def decoders(limits: Limits, use: str) -> Decoders:
    """The decoders of this worker process for one use, which do not wait for those of another."""
    return _of(Bounds.of(limits), use)


@cache
def _of(bounds: Bounds, use: str) -> Decoders:
    made = Decoders(bounds)
    atexit.register(made.close)
    return made
