"""A document as a decoder holds it: in memory where it is small, behind a file descriptor where it is large.

A film of 256 MiB must not take half of the memory that decoding it may take, so it is read through ``Held``, piece by
piece. Its file is without a name, and lies in the worker's memory.
"""

from __future__ import annotations

import fcntl
import io
import os
import tempfile
from typing import Final

WHOLE: Final = 32 * 1024 * 1024
"""Bytes up to which a document is read as a whole."""


class Held:
    """``size`` bytes behind a file descriptor, which is closed with it."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._size = size

    def __len__(self) -> int:
        return self._size

    def head(self, count: int) -> bytes:
        """The first ``count`` bytes."""
        return os.pread(self._descriptor, count, 0)

    def file(self) -> io.BufferedReader:
        """A file of its own, with its own position."""
        return io.BufferedReader(_Reader(self._descriptor, self._size), buffer_size=1 << 16)

    def close(self) -> None:
        """Give the memory back."""
        os.close(self._descriptor)


Data = bytes | Held


class _Reader(io.RawIOBase):
    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._size = size
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise OSError("a place before the beginning of the file")
        self._place = start + offset
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # any buffer of bytes
        count = os.preadv(self._descriptor, [buffer], self._place)
        self._place += count
        return count


def file_of(data: Data) -> io.BytesIO | io.BufferedReader:
    """``data`` as a file."""
    return io.BytesIO(data) if isinstance(data, bytes) else data.file()


def head_of(data: Data, count: int) -> bytes:
    """The first ``count`` bytes of ``data``."""
    return data[:count] if isinstance(data, bytes) else data.head(count)


def received(descriptor: int, size: int) -> Data:
    """The document behind ``descriptor``, which belongs to the result from now on."""
    held = Held(descriptor, size)
    if size > WHOLE:
        return held
    try:
        return held.file().read()
    finally:
        held.close()


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
