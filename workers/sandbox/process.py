"""A decoder process as its worker sees it: started, asked, watched, ended.

In: requests (see ``child``). Out: answers. Raises ``DecoderDied`` where the process ended by itself or talked nonsense,
``LimitExceeded`` where it took too much, ``TransientError`` where it cannot be started. After any error it is to be
ended: what it was asked it may still be at.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import math
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Final

import structlog

from workers.errors import LimitExceeded, TransientError
from workers.sandbox.bounds import Bounds
from workers.sandbox.channel import Channel
from workers.sandbox.child import Call, Done, Next, Open
from workers.sandbox.start import STARTER, Started, started
from workers.sandbox.wire import Answer, Kind

_WATCH_S: Final = 0.2
_START_S: Final = 60.0
_END_S: Final = 2.0
_MIB: Final = 1024 * 1024
_LINUX: Final = sys.platform == "linux"
_START_HINT: Final = "look at the memory and the processes that the system allows"
_log = structlog.get_logger(__name__)
_told: set[str] = set()


class DecoderDied(Exception):
    """The process ended by itself; says how."""


class Decoder:
    """One process. One request at a time."""

    def __init__(self, begun: Started, bounds: Bounds) -> None:
        self._process = begun.process
        self._stderr = begun.stderr
        self._channel = Channel(begun.connection, bounds.memory_mib * _MIB)
        self._bounds = bounds
        self._since = 0.0
        self._busy_s = 0.0
        self._peak_bytes = 0
        self.documents = 0

    @classmethod
    async def start(cls, bounds: Bounds, packages: tuple[str, ...]) -> Decoder:
        """A new process, confined and ready."""
        starting = STARTER.submit(started, bounds, packages)
        try:
            decoder = cls(await asyncio.wrap_future(starting), bounds)
        except OSError as error:
            raise TransientError(f"no decoder process can be started: {error}", hint=_START_HINT) from error
        except asyncio.CancelledError:
            starting.add_done_callback(_abandon)
            raise
        try:
            async with asyncio.timeout(_START_S):
                _tell((await decoder._answer()).value)
        except BaseException as error:
            said = decoder._last_words()
            decoder.end()
            if isinstance(error, DecoderDied | LimitExceeded | TimeoutError):
                raise TransientError(f"a decoder process did not start: {error} {said}", hint=_START_HINT) from error
            raise
        return decoder

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def open(self, descriptor: int, size: int) -> None:
        """Hand the document over that is behind ``descriptor``."""
        self.documents += 1
        self._busy_s = 0.0
        try:
            self._channel.tell(Open(size), [descriptor])
        except ConnectionError as error:
            raise DecoderDied("was gone") from error

    def done(self) -> None:
        """The document is done with."""
        with contextlib.suppress(ConnectionError):  # whoever opens the next document finds out
            self._channel.tell(Done())

    async def ask(self, request: Call | Next) -> Answer:
        """The answer to ``request``."""
        exchange = asyncio.ensure_future(self._exchange(request))
        began = self._since = time.monotonic()
        try:
            while not (await asyncio.wait({exchange}, timeout=_WATCH_S))[0]:
                self._check(began)
            return exchange.result()
        finally:
            self._busy_s += time.monotonic() - began
            if not exchange.done():
                exchange.cancel()
                await asyncio.wait({exchange})

    def end(self) -> None:
        """Kill it, if need be, and take back what it was given."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._channel.close()
        self._stderr.close()

    def holds_bytes(self) -> int:
        """What it holds in memory now; 0 where the system does not tell."""
        return self._status("VmRSS")

    def peak_bytes(self) -> int:
        """The most that it was seen to hold; of one that has died, what was seen before."""
        self._peak_bytes = max(self._peak_bytes, self._status("VmHWM"))
        return self._peak_bytes

    async def _exchange(self, request: Call | Next) -> Answer:
        self._allow()
        try:
            await self._channel.send(request)
        except ConnectionError as error:
            raise await self._died() from error
        while (answer := await self._answer()).kind is Kind.BEAT:
            self._since = time.monotonic()
            self._allow()
        return answer

    async def _answer(self) -> Answer:
        try:
            return await self._channel.answer()
        except ConnectionError as error:
            raise await self._died() from error
        except ValueError as error:
            raise DecoderDied(str(error)) from error

    def _allow(self) -> None:
        """Give it the processor time of one more step. It cannot do so itself."""
        if _LINUX:
            with contextlib.suppress(OSError):  # it has just died: the answer will say so
                used = time.clock_gettime((~self.pid << 3) | 2)  # the clock of another process
                hard = resource.prlimit(self.pid, resource.RLIMIT_CPU)[1]
                resource.prlimit(self.pid, resource.RLIMIT_CPU, (math.ceil(used + self._bounds.cpu_s), hard))

    def _check(self, began: float) -> None:
        """Raises where it takes too long or holds too much."""
        now = time.monotonic()
        if self.peak_bytes() > self._bounds.memory_mib * _MIB:
            raise self._bounds.too_much_memory()
        if now - self._since > self._bounds.wall_s:
            raise self._bounds.too_slow()
        if self._busy_s + now - began > self._bounds.total_s:
            raise self._bounds.too_long()

    def _status(self, name: str) -> int:
        try:
            lines = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
        except OSError:
            return 0
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0)

    async def _died(self) -> DecoderDied | LimitExceeded:
        """Wait for its end, and say how it came to it."""
        code = await asyncio.to_thread(self._ended)
        if code == -signal.SIGXCPU:
            return self._bounds.too_much_work()
        _log.warning("a decoder process died", code=code, said=self._last_words())
        return DecoderDied(f"died with {_signal(-code)}" if code < 0 else f"exited with {code}")

    def _ended(self) -> int:
        """The exit code; who closes the connection, but does not end, is killed."""
        try:
            return self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _last_words(self) -> str:
        """The end of what it wrote to standard error."""
        self._stderr.seek(max(0, self._stderr.seek(0, io.SEEK_END) - 2000))
        return self._stderr.read().decode("utf-8", "replace").strip()


def _signal(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def _abandon(starting: Future[Started]) -> None:
    """End a process for which nobody waits any more."""
    if not starting.cancelled() and starting.exception() is None:
        begun = starting.result()
        begun.process.kill()
        begun.process.wait()
        begun.connection.close()
        begun.stderr.close()


def _tell(missing: Sequence[str]) -> None:
    """Once for each bound that this system does not grant."""
    for what in missing:
        if str(what) not in _told:
            _told.add(str(what))
            _log.warning("decoder processes are not fully confined", missing=str(what))
