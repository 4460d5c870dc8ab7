"""A child process: its log in a file, its port awaited, ended by its own id and never outliving its parent.

In: a command line. Out: a ``Child``. Raises ``ChildFailed``, with the last lines of the log, where it does not start,
ends by itself, or does not listen in time.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from streams import tether
from workers.errors import SensoriumError

PORTS = range(20_000, 32_000)
"""Below the ports that systems give to outgoing connections (Linux: 32,768 and up, macOS: 49,152 and up): a client that
keeps trying one of those on loopback may connect to itself, and the server then finds its port taken."""

POLL_S = 0.02
WATCH_S = 0.05
MAX_LOG_BYTES = 16 * 1024 * 1024
TAIL_BYTES = 4096


class ChildFailed(SensoriumError):
    """A process of ours did not start, or ended by itself."""


def free_ports(count: int) -> tuple[int, ...]:
    """Different TCP ports on loopback that nobody listens on right now."""
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        if len(found) == count:
            break
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
    return tuple(found)


def _tethered(command: Sequence[str]) -> list[str]:
    """``command``, in such a way that the kernel ends it when this process has died; only Linux can."""
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), *command]


class Child:
    """One running child process."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path, log_start: int) -> None:
        self.name = name
        self.log = log
        self.started = time.monotonic()
        self._log_start = log_start
        self._process = process

    @classmethod
    def start(
        cls,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        keep_open: Sequence[int] = (),
    ) -> Child:
        """Start ``command``; what it prints is appended to ``log``. Raises ``ChildFailed`` where it cannot be started.

        ``keep_open`` are file descriptors that the child inherits.
        """
        if shutil.which(command[0]) is None:
            raise ChildFailed(f"{name} cannot be started: there is no program {command[0]}")
        log.parent.mkdir(parents=True, exist_ok=True)
        if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
            log.replace(log.with_suffix(".old.log"))
        with log.open("ab") as file:
            try:
                process = subprocess.Popen(  # noqa: S603  # our own command lines
                    _tethered(command),
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                    env={**os.environ, **(env or {})},
                    pass_fds=keep_open,
                    start_new_session=True,  # Ctrl-C is for the supervisor, which ends its children in order
                )
            except OSError as error:
                raise ChildFailed(f"{name} cannot be started: {error}") from error
            return cls(name, process, log, file.tell())

    @classmethod
    async def serve(
        cls,
        name: str,
        command: Sequence[str],
        *,
        port: int,
        timeout_s: float,
        log: Path,
        env: Mapping[str, str] | None = None,
        keep_open: Sequence[int] = (),
    ) -> Child:
        """Start a server and wait until it listens on ``port``. Raises ``ChildFailed``; nothing is left then."""
        child = cls.start(name, command, log=log, env=env, keep_open=keep_open)
        try:
            await child._listening(port, timeout_s)
        except BaseException:  # cancelled as well
            await child.stop()
            raise
        return child

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code, ``None`` while it runs; the negative number of the signal that ended it."""
        return self._process.poll()

    async def wait(self) -> int:
        """Wait for its end; the exit code."""
        while (code := self.returncode) is None:  # noqa: ASYNC110  # the end of a process sets no event
            await asyncio.sleep(WATCH_S)
        return code

    async def stop(self, timeout_s: float = 10.0) -> None:
        """SIGTERM, and SIGKILL where it does not end within ``timeout_s``."""
        if self.returncode is None:
            self._process.terminate()
        try:
            await asyncio.wait_for(self.wait(), timeout_s)
        except TimeoutError:
            self.kill()
            await self.wait()

    def kill(self) -> None:
        """SIGKILL to it and to what it has started."""
        if self.returncode is None:
            os.killpg(self.pid, signal.SIGKILL)

    def last_words(self) -> str:
        """The last lines that it has printed."""
        with self.log.open("rb") as file:
            file.seek(max(self._log_start, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            lines = file.read().decode(errors="replace").split("\n")
        return " / ".join([line.strip() for line in lines if line.strip()][-3:])[-600:] or "it printed nothing"

    async def _listening(self, port: int, timeout_s: float) -> None:
        hint = f"its log is {self.log}"
        try:
            async with asyncio.timeout(timeout_s):
                while not _answers(port):
                    if self.returncode is not None:
                        raise ChildFailed(f"{self.name} ended with {self.returncode}: {self.last_words()}", hint=hint)
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            reason = f"{self.name} does not listen on port {port} after {timeout_s:.0f} s: {self.last_words()}"
            raise ChildFailed(reason, hint=hint) from None


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0
