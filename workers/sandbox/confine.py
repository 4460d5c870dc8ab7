"""What a decoder process gives up before it reads a document.

In: the memory that it may hold, and the worker's process id. Out: what this system did not grant, in words for people;
nothing, where all holds:

* memory: ``RLIMIT_DATA`` bounds what it can allocate, so that it never holds more than it may; no core files;
* network, programs, other processes: refused by seccomp; a network namespace with nothing in it and no capabilities
  where user namespaces are allowed; Landlock's scopes where the kernel has them;
* files: none can be opened for writing (seccomp, and Landlock), so that no scratch folder is needed; only the
  interpreter, its packages and the system's libraries can be read (Landlock);
* it ends with the worker (``PR_SET_PDEATHSIG``, and because its socket closes) and gains no privilege.

Time is bounded by the worker, which alone can change the limits afterwards.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from workers.sandbox import landlock, seccomp

_MIB: Final = 1024 * 1024
LIBRARIES_MIB: Final = 64
"""What the pages of the decoders' libraries take beside their data: 54 MiB with all of them loaded, and some more."""
_STDERR_BYTES: Final = 1 * _MIB
_FILES: Final = 64
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_SYSTEM: Final = (
    *("/usr", "/lib", "/lib64", "/bin"),
    *("/etc/ld.so.cache", "/etc/localtime", "/etc/mime.types", "/proc/cpuinfo", "/sys/devices/system/cpu"),
)


def confine(memory_mib: int, worker: int, packages: tuple[str, ...]) -> list[str]:
    """Give up what a decoder needs not; ``packages`` may be read wherever they lie."""
    missing = [*_limits(memory_mib), *_bound_to(worker)]
    if sys.platform != "linux":
        return [*missing, "nothing but memory and time is limited: this system is not Linux"]
    namespace = _tried(lambda: _unshare(_CLONE_NEWUSER | _CLONE_NEWNET))
    reading = _tried(lambda: landlock.apply(_readable(packages)))
    calls = _tried(seccomp.apply)
    if calls and namespace:
        missing.append(f"network access is not refused (seccomp: {calls}; namespace: {namespace})")
    if calls:
        missing.append(f"programs can be started (seccomp: {calls})")
    if calls and reading:
        missing.append(f"files can be written (seccomp: {calls}; Landlock: {reading})")
    if reading:
        missing.append(f"all files of this user can be read (Landlock: {reading})")
    return missing


def _limits(memory_mib: int) -> Iterator[str]:
    data = (memory_mib - LIBRARIES_MIB) * _MIB
    for kind, limit in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, _STDERR_BYTES),
        (resource.RLIMIT_NOFILE, _FILES),
        (resource.RLIMIT_DATA, data),
    ):
        hard = resource.getrlimit(kind)[1]
        most = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        if why := _tried(partial(resource.setrlimit, kind, (most, most))):
            yield f"a resource is not limited ({kind}: {why})"


def _bound_to(worker: int) -> Iterator[str]:
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) or libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
            yield f"the process is not bound to its worker ({os.strerror(ctypes.get_errno())})"
    if os.getppid() != worker:
        raise SystemExit("the worker has ended")


def _unshare(flags: int) -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(flags):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _tried(work: Callable[[], None]) -> str:
    """Why ``work`` could not be done; nothing, if it was."""
    try:
        work()
    except (OSError, ValueError, NotImplementedError, AttributeError) as error:
        return str(error) or type(error).__name__
    return ""


def _readable(packages: tuple[str, ...]) -> Iterator[Path]:
    """The interpreter, what it imports from, and the libraries that it has loaded; not the folder of a checkout."""
    homes = {home for package in packages for home in _home(package)}
    roots = {home.parent for home in homes if not home.is_relative_to(sys.prefix)}
    yield from homes
    for entry in (sys.prefix, sys.base_prefix, sys.exec_prefix, *sys.path, *_SYSTEM):
        if entry and Path(entry) not in roots:
            yield Path(entry)
    yield from {Path(line.split()[-1]).parent for line in _mappings() if ".so" in line and "/" in line}


def _home(package: str) -> list[Path]:
    spec = find_spec(package)
    return [Path(place) for place in spec.submodule_search_locations or ()] if spec is not None else []


def _mappings() -> list[str]:
    return Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
