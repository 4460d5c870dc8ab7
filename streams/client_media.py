"""Media that a caller hands over: a path or bytes in, the bytes with a name and a document id out.

Raises ``UsageError`` for what is no readable file, ``LimitExceeded`` for what is too large to be taken.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from streams.client_errors import UsageError
from workers.errors import LimitExceeded

MediaInput = str | os.PathLike[str] | bytes


def read_media(media: MediaInput, max_bytes: int) -> tuple[bytes, str]:
    """The bytes, and where they are from: the absolute path, empty for bytes."""
    if isinstance(media, bytes):
        _check_size("this medium", len(media), max_bytes)
        return media, ""
    path = _absolute(media)
    try:
        if not path.is_file():  # a folder, or a pipe or device that would be read for ever
            raise UsageError(f"{path} {'is not a file' if path.exists() else 'does not exist'}", hint="name a file")
        _check_size(str(path), path.stat().st_size, max_bytes)
        return path.read_bytes(), _in_utf8(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint="name a file that you may read") from error


def document_id_of(path: str | os.PathLike[str]) -> str:
    """The id that a file gets unless it is given another: of its absolute path, whatever is in it."""
    return hashlib.sha256(os.fsencode(_absolute(path))).hexdigest()[:32]


def default_document_id(media: MediaInput, data: bytes) -> str:
    """The id of a file comes from its path, so that a change is a new version; that of bytes from their content."""
    return hashlib.sha256(data).hexdigest()[:32] if isinstance(media, bytes) else document_id_of(media)


def _absolute(path: str | os.PathLike[str]) -> Path:
    return Path(os.path.normpath(Path(path).absolute()))


def _in_utf8(path: Path) -> str:
    """A file's name may be any bytes; headers and JSON are UTF-8."""
    return os.fsencode(path).decode("utf-8", "replace")


def _check_size(name: str, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise LimitExceeded(
            f"{name} has {size} bytes, more than the limit of {max_bytes}",
            hint="raise SENSORIUM_LIMITS__MAX_BYTES here and for the workers, or publish a smaller file",
        )
