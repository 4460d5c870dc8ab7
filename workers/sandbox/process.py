"""A decoder process as its worker sees it: started, asked, watched, ended.

In: requests (see ``child``). Out: answers. Raises ``DecoderDied`` where the process ended by itself or talked nonsense,
``LimitExceeded`` where it was ended because it took too much, ``TransientError`` where it cannot be started.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import io
import json
import math
import os
import pickle
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Final

import numpy as np
import structlog

from workers.errors import LimitExceeded, TransientError
from workers.sandbox.bounds import Bounds
from workers.sandbox.child import Call, Done, Next, Open, Start
from workers.sandbox.wire import HEAD, LENGTH, MAX_BUFFERS, MAX_JSON, REQUEST, Answer, Kind

_WATCH_S: Final = 0.2
_START_S: Final = 60.0
_END_S: Final = 2.0
_READ_AT_ONCE: Final = 64 * 1024
_MIB: Final = 1024 * 1024
_LINUX: Final = sys.platform == "linux"
_ENVIRONMENT: Final = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUTF8": "1",
}
"""All that it gets of the environment: secrets stay with the worker."""
_STARTER: Final = ThreadPoolExecutor(1, thread_name_prefix="decoders")
"""One thread that lives as long as the worker: a process's parent-death signal comes with the end of the *thread*."""
_START_HINT: Final = "look at the memory and the processes that the system allows"
_log = structlog.get_logger(__name__)
_told: set[str] = set()


class DecoderDied(Exception):
    """The process ended by itself; says how."""


class Decoder:
    """One process. One request at a time."""

    def __init__(self, process: subprocess.Popen[bytes], connection: socket.socket, said: IO[bytes], bounds: Bounds):
        self._process = process
        self._connection = connection
        self._said = said
        self._bounds = bounds
        self._unread = bytearray()
        self._since = 0.0
        self.busy_s = 0.0
        """Seconds that it has worked on the document that is open."""
        self.documents = 0
        self.peak_bytes = 0
        """The most that it was seen to hold in memory."""

    @classmethod
    async def start(cls, bounds: Bounds, packages: tuple[str, ...]) -> Decoder:
        """A new process, confined and ready."""
        try:
            decoder = await asyncio.wrap_future(_STARTER.submit(_started, bounds, packages))
        except OSError as error:
            raise TransientError(f"no decoder process can be started: {error}", hint=_START_HINT) from error
        try:
            async with asyncio.timeout(_START_S):
                answer = await decoder._answer()
        except BaseException as error:
            said = decoder.last_words()
            decoder.end()
            if isinstance(error, DecoderDied | LimitExceeded | TimeoutError):
                raise TransientError(f"a decoder process did not start: {error} {said}", hint=_START_HINT) from error
            raise
        _tell(answer.value)
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
        self.busy_s = 0.0
        body = pickle.dumps(Open(size))
        try:
            socket.send_fds(self._connection, [REQUEST.pack(len(body)) + body], [descriptor])
        except OSError as error:
            raise DecoderDied("was gone") from error

    def done(self) -> None:
        """The document is done with."""
        self._measure()
        body = pickle.dumps(Done())
        with contextlib.suppress(OSError):  # whoever opens the next document finds out
            self._connection.send(REQUEST.pack(len(body)) + body)

    async def ask(self, request: Call | Next) -> Answer:
        """The answer to ``request``. The process is to be ended after any error: its answer is still to come."""
        exchange = asyncio.ensure_future(self._exchange(request))
        began = self._since = time.monotonic()
        try:
            while not (await asyncio.wait({exchange}, timeout=_WATCH_S))[0]:
                self._check(began)
            return exchange.result()
        finally:
            self.busy_s += time.monotonic() - began
            if not exchange.done():
                exchange.cancel()
                await asyncio.wait({exchange})

    def end(self) -> None:
        """Kill it, if need be, and take back what it was given."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._connection.close()
        self._said.close()

    def _ended(self, within_s: float) -> int:
        """The exit code; who closes the connection, but does not end, is killed."""
        try:
            return self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def last_words(self) -> str:
        """The end of what it wrote to standard error."""
        self._said.seek(max(0, self._said.seek(0, io.SEEK_END) - 2000))
        return self._said.read().decode("utf-8", "replace").strip()

    async def _exchange(self, request: Call | Next) -> Answer:
        loop = asyncio.get_running_loop()
        body = pickle.dumps(request)
        self._allow()
        try:
            await loop.sock_sendall(self._connection, REQUEST.pack(len(body)) + body)
        except OSError as error:
            raise await self._died() from error
        while (answer := await self._answer()).kind is Kind.BEAT:
            self._since = time.monotonic()
            self._allow()
        return answer

    def _allow(self) -> None:
        """Give it the processor time of one more step."""
        if _LINUX:
            with contextlib.suppress(OSError):  # it has just died: the answer will say so
                used = time.clock_gettime((~self.pid << 3) | 2)
                most = math.ceil(used + self._bounds.cpu_s)
                hard = resource.prlimit(self.pid, resource.RLIMIT_CPU)[1]
                resource.prlimit(self.pid, resource.RLIMIT_CPU, (most, hard))

    def _check(self, began: float) -> None:
        """Raises where it takes too long or holds too much."""
        now = time.monotonic()
        if self._measure() > self._bounds.memory_mib * _MIB:
            raise self._bounds.too_much_memory()
        if now - self._since > self._bounds.wall_s:
            raise self._bounds.too_slow()
        if self.busy_s + now - began > self._bounds.total_s:
            raise self._bounds.too_long()

    def holds_bytes(self) -> int:
        """What it holds in memory now."""
        return self._status("VmRSS")

    def _measure(self) -> int:
        self.peak_bytes = max(self.peak_bytes, self._status("VmHWM"))
        return self.peak_bytes

    def _status(self, name: str) -> int:
        try:
            lines = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
        except OSError:
            return 0
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0)

    async def _answer(self) -> Answer:
        kind, size, count = HEAD.unpack(await self._bytes(HEAD.size))
        if size > MAX_JSON or count > MAX_BUFFERS or kind not in set(Kind):
            raise await self._died("it answered nonsense")
        lengths = [LENGTH.unpack(await self._bytes(LENGTH.size))[0] for _ in range(count)]
        if sum(lengths) > self._bounds.memory_mib * _MIB:
            raise await self._died("it answered too much")
        body = await self._bytes(size)
        buffers = [await self._buffer(length) for length in lengths]
        try:
            value, logs = json.loads(body)
            for level, event, values in logs:
                _relay(level, event, values)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise await self._died("it answered nonsense") from error
        return Answer(Kind(kind), value, buffers)

    async def _bytes(self, count: int) -> bytes:
        while len(self._unread) < count:
            try:
                more = await asyncio.get_running_loop().sock_recv(self._connection, _READ_AT_ONCE)
            except OSError as error:
                raise await self._died() from error
            if not more:
                raise await self._died()
            self._unread += more
        found = bytes(self._unread[:count])
        del self._unread[:count]
        return found

    async def _buffer(self, length: int) -> memoryview:
        """So many bytes, received where they stay."""
        buffer = np.empty(length, np.uint8).data
        have = min(length, len(self._unread))
        buffer[:have] = self._unread[:have]
        del self._unread[:have]
        loop = asyncio.get_running_loop()
        while have < length:
            try:
                count = await loop.sock_recv_into(self._connection, buffer[have:])
            except OSError as error:
                raise await self._died() from error
            if count == 0:
                raise await self._died()
            have += count
        return buffer

    async def _died(self, how: str = "") -> DecoderDied | LimitExceeded:
        """Wait for its end, and say how it came to it."""
        code = await asyncio.to_thread(self._ended, 0.0 if how else _END_S)
        words = self.last_words()
        if -code == signal.SIGXCPU:
            return self._bounds.too_much_work()
        if words:
            _log.warning("a decoder process died", code=code, said=words)
        if how:
            return DecoderDied(how)
        return DecoderDied(f"died with {signal.Signals(-code).name}" if code < 0 else f"exited with {code}")


def document_file(data: bytes) -> int:
    """A file without a name that holds ``data``, and that nobody can change."""
    if not hasattr(os, "memfd_create"):
        with tempfile.TemporaryFile() as file:
            file.write(data)
            file.flush()
            return os.dup(file.fileno())
    descriptor = os.memfd_create("document", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


def _started(bounds: Bounds, packages: tuple[str, ...]) -> Decoder:
    ours, theirs = socket.socketpair()
    said = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the process
    path = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path if entry)
    try:
        process = subprocess.Popen(  # noqa: S603  # this interpreter, with words of ours
            [sys.executable, "-P", "-c", f"from workers.sandbox.child import main; main({theirs.fileno()})"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            pass_fds=[theirs.fileno()],
            env={**_ENVIRONMENT, "PYTHONPATH": path},
            cwd="/",
            start_new_session=True,
        )
    except OSError:
        ours.close()
        said.close()
        raise
    finally:
        theirs.close()
    body = pickle.dumps(Start(os.getpid(), bounds.memory_mib, packages))
    ours.sendall(REQUEST.pack(len(body)) + body)
    ours.setblocking(False)
    return Decoder(process, ours, said, bounds)


def _tell(missing: Sequence[str]) -> None:
    """Once for each bound that this system does not grant."""
    for what in missing:
        if str(what) not in _told:
            _told.add(str(what))
            _log.warning("decoder processes are not fully confined", missing=str(what))


def _relay(level: str, event: str, values: dict[str, str]) -> None:
    """A log line of the process; it may be anything, so that its keys are checked."""
    shown = {key: value for key, value in values.items() if key.isidentifier() and key not in {"event", "self"}}
    (_log.error if level == "error" else _log.warning)(str(event), **shown)
