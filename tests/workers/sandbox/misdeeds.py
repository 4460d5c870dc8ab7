"""What a decoder that hostile bytes have taken over would try. Each function runs in a decoder process."""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workers.errors import InvalidMedia
from workers.sandbox.progress import beat


@dataclass(frozen=True)
class Found:
    """Something of every kind that may be sent."""

    name: str
    numbers: tuple[int, ...]
    share: float | None
    pixels: NDArray[np.uint8]


def size(data: bytes) -> int:
    return len(data)


def process_id(data: bytes) -> int:
    return os.getpid()


def found(data: bytes, name: str) -> Found:
    return Found(name, (1, 2), None, np.arange(12, dtype=np.uint8).reshape(2, 2, 3))


def zeros(data: bytes, mebibytes: int) -> NDArray[np.uint8]:
    return np.zeros(mebibytes << 20, dtype=np.uint8)


def numbers(data: bytes, most: int) -> Iterator[int]:
    yield from range(most)


def refuse(data: bytes) -> int:
    raise InvalidMedia("it is broken", hint="mend it")


def fail(data: bytes) -> int:
    numbers: dict[str, int] = {}
    return numbers["no such key"]


def halves(data: bytes) -> str:
    return "\ud800"


def nonsense(data: bytes) -> int:
    return "not a number"  # type: ignore[return-value]


def no_number(data: bytes) -> NDArray[np.float32]:
    return np.full(3, np.nan, dtype=np.float32)


def noise(data: bytes) -> int:
    """Speaks on the socket itself."""
    for descriptor in range(3, 32):
        try:
            os.write(descriptor, b"\x00\xff\xff\xff\xff\xff\xff" * 100)
        except OSError:
            continue
    return 0


def spin(data: bytes) -> int:
    while True:
        pass


def sleep(data: bytes) -> int:
    time.sleep(3600)
    return 0


def steady(data: bytes, seconds: float) -> int:
    """Takes long, but gets on."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.05)
        beat()
    return 7


def sleep_after(data: bytes, count: int) -> Iterator[int]:
    yield from range(count)
    time.sleep(3600)


def segfault(data: bytes) -> int:
    ctypes.string_at(0)
    return 0


def leave(data: bytes) -> int:
    os._exit(3)


def segfault_after(data: bytes, count: int) -> Iterator[int]:
    yield from range(count)
    ctypes.string_at(0)


def segfault_but_in(data: bytes, process: int) -> int:
    """Dies in one process and in no other."""
    if os.getpid() == process:
        ctypes.string_at(0)
    return 5


def number_until_killed(data: bytes, most: int, process: int) -> Iterator[int]:
    """Dies half way, but only in one process."""
    for number in range(most):
        if number == most // 2 and os.getpid() == process:
            os.kill(os.getpid(), signal.SIGKILL)
        yield number


def bomb(data: bytes) -> int:
    held = []
    while True:
        held.append(bytearray(os.urandom(1 << 20)))


def one_allocation(data: bytes) -> int:
    return len(bytearray(1 << 30))


def bomb_in_threads(data: bytes) -> int:
    for _ in range(8):
        threading.Thread(target=bomb, args=(data,)).start()
    time.sleep(60)
    return 0


def shared_bomb(data: bytes) -> int:
    """Memory that the limit on a process's own does not count."""
    held = []
    while True:
        block = mmap.mmap(-1, 8 << 20)
        block.write(b"x" * (8 << 20))
        held.append(block)


def attempts(data: bytes, folder: str, victim: int) -> list[tuple[str, str]]:
    """What came of each attempt: nothing, if it was refused."""
    tried: list[tuple[str, Callable[[], object]]] = [
        ("socket", lambda: socket.socket(socket.AF_INET)),
        ("unix socket", lambda: socket.socket(socket.AF_UNIX)),
        ("resolve", lambda: socket.getaddrinfo("localhost", 80)),
        ("write", lambda: Path(folder, "written").write_text("x")),
        ("append", lambda: os.open(Path(folder, "there"), os.O_WRONLY | os.O_APPEND)),
        ("truncate", lambda: os.truncate(Path(folder, "there"), 0)),
        ("remove", lambda: Path(folder, "there").unlink()),
        ("rename", lambda: Path(folder, "there").rename(Path(folder, "moved"))),
        ("link", lambda: Path(folder, "linked").symlink_to("there")),
        ("folder", lambda: Path(folder, "made").mkdir()),
        ("chmod", lambda: Path(folder, "there").chmod(0o777)),
        ("shared memory", lambda: Path("/dev/shm/sensorium-test").write_text("x")),
        ("read a secret", lambda: Path(folder, "there").read_text(encoding="utf-8")),
        ("read passwords", lambda: Path("/etc/passwd").read_text(encoding="utf-8")),
        ("read the worker's environment", lambda: Path(f"/proc/{victim}/environ").read_bytes()),
        ("read the worker's memory", lambda: os.open(f"/proc/{victim}/mem", os.O_RDONLY)),
        ("list", lambda: list(Path(folder).iterdir())),
        ("program", lambda: subprocess.run(["/bin/true"], check=True)),
        ("execute", lambda: os.execv("/bin/true", ["true"])),
        ("fork", os.fork),
        ("kill", lambda: os.kill(victim, 0)),
        ("more memory", lambda: resource.setrlimit(resource.RLIMIT_DATA, (1 << 40, 1 << 40))),
        ("more time", lambda: resource.setrlimit(resource.RLIMIT_CPU, (3600, resource.RLIM_INFINITY))),
        ("hidden memory", lambda: os.memfd_create("x")),
        ("another namespace", lambda: _checked(ctypes.CDLL(None, use_errno=True).unshare(0x10000000))),
        ("trace", lambda: _checked(ctypes.CDLL(None, use_errno=True).ptrace(16, victim, 0, 0))),
    ]
    return [(name, _outcome(work)) for name, work in tried]


def _checked(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")


def _outcome(work: Callable[[], object]) -> str:
    try:
        work()
    except (OSError, ValueError):
        return ""
    return "done"


def environment(data: bytes) -> list[str]:
    return sorted(os.environ)


def heavy_modules(data: bytes) -> list[str]:
    return sorted({"torch", "pymilvus", "onnxruntime", "transformers", "faust", "aiokafka"} & set(sys.modules))


def log(data: bytes) -> int:
    import structlog

    structlog.get_logger("x").warning("something is odd", place=3, event_="x")
    return 0
