"""Which files a process may open, by Linux's Landlock: some to be read, none to be written, no TCP, no other process.

In: paths that may be read, with all that lies beneath them. Out: the bounds hold for this thread and all that it
starts. Raises ``OSError`` where the kernel has no Landlock.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION: Final = 1
_PATH_BENEATH: Final = 1
_READ_FILE, _READ_FOLDER = 1 << 2, 1 << 3
_FILE_RIGHTS: Final = {1: 13, 2: 14, 3: 15, 5: 16}
"""Version of the interface, and how many rights to files it knows; all are taken away."""
_TCP, _SCOPES = 0b11, 0b11


def version() -> int:
    """The version of the kernel's interface. Raises ``OSError`` if it has none."""
    return _call(_CREATE_RULESET, None, 0, _VERSION)


def apply(readable: Iterable[Path]) -> None:
    """Take away every right to files but to read ``readable``; paths that are not there are passed over."""
    known = version()
    rights = (1 << next(count for since, count in reversed(_FILE_RIGHTS.items()) if known >= since)) - 1
    attributes = struct.pack("=QQQ", rights, _TCP if known >= 4 else 0, _SCOPES if known >= 6 else 0)
    size = 24 if known >= 6 else 16 if known >= 4 else 8
    ruleset = _call(_CREATE_RULESET, attributes, size, 0)
    try:
        for path in readable:
            _allow(ruleset, path)
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        rights = _READ_FILE | (_READ_FOLDER if path.is_dir() else 0)
        _call(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, place), 0)
    finally:
        os.close(place)


def _call(number: int, *arguments: int | bytes | None) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    result: int = libc.syscall(number, *(ctypes.c_long(it) if isinstance(it, int) else it for it in arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
