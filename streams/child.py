"""A child process: its log in a file, its port awaited, ended by its own id and never outliving its parent."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from workers.errors import SensoriumError

PR_SET_PDEATHSIG = 1
POLL_S = 0.02


class ChildFailed(SensoriumError):
    """A process of ours did not start, or ended by itself."""


def free_port() -> int:
    """A TCP port on loopback that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _die_with_parent() -> Callable[[], None] | None:
    """Makes the kernel end a child whose parent has died; only Linux can."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)  # loaded before the fork: the child may not import
    return lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Child:
    """One running child process."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.log = log
        self._process = process

    @classmethod
    async def start(
        cls, name: str, command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None
    ) -> Child:
        """Start ``command``; what it prints goes to ``log``. Raises ``ChildFailed`` where it cannot be started."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            try:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                    env={**os.environ, **(env or {})},
                    preexec_fn=_die_with_parent(),
                    start_new_session=True,  # Ctrl-C is for the supervisor, which ends its children in order
                )
            except OSError as error:
                raise ChildFailed(f"{name} cannot be started: {error}") from error
        return cls(name, process, log)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code, ``None`` while it runs."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait for its end; the exit code."""
        return await self._process.wait()

    async def listening(self, port: int, timeout_s: float) -> None:
        """Wait until it listens. Raises ``ChildFailed`` with the end of its log where it ends or takes too long."""
        try:
            async with asyncio.timeout(timeout_s):
                while not _answers(port):
                    if self.returncode is not None:
                        raise ChildFailed(f"{self.name} ended with {self.returncode}: {self.last_words()}")
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise ChildFailed(
                f"{self.name} does not listen on port {port} after {timeout_s:.0f} s: {self.last_words()}",
                hint=f"its log is {self.log}",
            ) from None

    async def stop(self, timeout_s: float = 10.0) -> None:
        """SIGTERM, and SIGKILL where it does not end within ``timeout_s``."""
        if self.returncode is not None:
            return
        self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), timeout_s)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def last_words(self) -> str:
        """The last lines of its log."""
        try:
            return " / ".join(self.log.read_text(errors="replace").strip().splitlines()[-3:])[-600:]
        except FileNotFoundError:
            return "it left no log"


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0
