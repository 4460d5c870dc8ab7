"""The blob store: bytes by the hash of their content, in a folder or behind any fsspec URI.

In: bytes, or a claim check (``BlobRef``) that an event brought and that is not trusted. Out: a claim check, or bytes
whose size and sha256 are proven. A claim check is read only where it lies under the store's root or one of the read
roots, after every way of writing a path has been undone.

Raises ``ForbiddenUri`` (outside the roots), ``LimitExceeded`` (larger than the caller takes), ``InvalidMedia``
(missing, or not the bytes that it claims to be), ``TransientError`` (the file system is away).
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import posixpath
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from schemas.media import BlobRef
from workers.errors import ForbiddenUri, InvalidMedia, LimitExceeded, SensoriumError, TransientError

_ROOTS_HINT = "put the file under the blob store or a folder of SENSORIUM_MEDIA_ROOTS, or publish its bytes"
_LIMIT_HINT = "raise SENSORIUM_LIMITS__MAX_BYTES, or publish a smaller file"


class _Root:
    """One place that may be read: a file system and a normalised path on it, without a slash at its end."""

    def __init__(self, uri: str) -> None:
        self.fs: Any
        self.fs, path = url_to_fs(uri)
        self.is_local = isinstance(self.fs, LocalFileSystem)
        self.path = os.path.realpath(path) if self.is_local else posixpath.normpath(path)
        protocol = self.fs.protocol
        self.protocols = {protocol} if isinstance(protocol, str) else set(protocol)

    def uri(self, name: str) -> str:
        """The URI of ``name`` under this root."""
        return str(self.fs.unstrip_protocol(posixpath.join(self.path, name)))

    def resolve(self, uri: str) -> str | None:
        """The path on this file system that ``uri`` names, ``None`` where it does not lie under this root.

        Paths are taken as they stand; a path that would lead out once percent-decoded is refused as well, because
        whoever wrote it meant to.
        """
        protocol, separator, path = uri.rpartition("://")
        if not separator:
            protocol, path = "file", uri
        if protocol not in self.protocols or "\0" in uri or "\\" in uri:
            return None
        if self.is_local and not path.startswith("/"):  # relative, ~user, or file://host/…
            return None
        if not self.is_local:
            path = str(self.fs._strip_protocol(uri))
        spellings = {path, unquote(path), unquote(unquote(path))}
        return self._real(path) if all(self._holds(spelling) for spelling in spellings) else None

    def _holds(self, path: str) -> bool:
        """``..`` is followed on a local disk; an object store has no parent folders, so there it is refused."""
        if "\0" in path or (not self.is_local and ".." in path.split("/")):
            return False
        prefix = self.path.rstrip("/") + "/"
        return self._real(path).startswith(prefix)

    def _real(self, path: str) -> str:
        return os.path.realpath(path) if self.is_local else posixpath.normpath(path)


@contextmanager
def _trouble(doing: str) -> Iterator[None]:
    """Trouble of the file system as a ``TransientError``.

    Every fsspec implementation has exceptions of its own (botocore, aiohttp …), hence the breadth; the shell ends the
    process when retries do not help, so no fault is hidden.
    """
    try:
        yield
    except (SensoriumError, FileNotFoundError):
        raise
    except Exception as error:
        hint = "check that the blob store is reachable and writable (SENSORIUM_BLOBS)"
        raise TransientError(f"the blob store failed while {doing}: {error}", hint=hint) from error


class BlobStore:
    """Content-addressed bytes under ``root``; claim checks are also read under ``read_roots``.

    Roots are local paths or fsspec URIs. Safe to use from several threads and processes: a blob is written aside and
    moved into place, and equal content has an equal name.
    """

    def __init__(self, root: str, read_roots: Sequence[str] = ()) -> None:
        self._root = _Root(root)
        self._readable = (self._root, *(_Root(uri) for uri in read_roots))

    def put(self, data: bytes, content_type: str) -> BlobRef:
        """Store ``data`` unless it is there already."""
        digest = hashlib.sha256(data).hexdigest()
        path = posixpath.join(self._root.path, digest[:2], digest)
        with _trouble(f"writing {len(data)} bytes"):
            if not self._root.fs.exists(path):
                self._write(path, data)
        uri = self._root.uri(f"{digest[:2]}/{digest}")
        return BlobRef(uri=uri, sha256=digest, size=len(data), content_type=content_type)

    def get(self, ref: BlobRef, *, max_bytes: int) -> bytes:
        """The bytes that ``ref`` claims, proven by size and hash; nothing larger than ``max_bytes`` is read."""
        root, path = self._find(ref.uri, self._readable)
        with _trouble(f"reading {ref.uri}"):
            try:
                info = root.fs.info(path)
                self._check_size(ref, info, max_bytes)
                with root.fs.open(path, "rb") as file:
                    data = bytes(file.read(ref.size + 1))
            except FileNotFoundError as error:
                hint = "publish the document again; blobs must outlive the topics that name them"
                raise InvalidMedia(f"there is no blob at {ref.uri}", hint=hint) from error
        if len(data) != ref.size or hashlib.sha256(data).hexdigest() != ref.sha256.lower():
            raise InvalidMedia(f"the blob at {ref.uri} is not the one that the event names: its sha256 differs")
        return data

    def exists(self, ref: BlobRef) -> bool:
        """Whether something lies at ``ref``; its content is not read."""
        root, path = self._find(ref.uri, self._readable)
        with _trouble(f"looking for {ref.uri}"):
            return bool(root.fs.exists(path))

    def delete(self, ref: BlobRef) -> None:
        """Remove a blob of the store's own root; one that is gone already is no error."""
        root, path = self._find(ref.uri, (self._root,))
        with _trouble(f"deleting {ref.uri}"):
            try:
                root.fs.rm_file(path)
            except FileNotFoundError:
                return

    async def aput(self, data: bytes, content_type: str) -> BlobRef:
        """``put`` in a thread."""
        return await asyncio.to_thread(self.put, data, content_type)

    async def aget(self, ref: BlobRef, *, max_bytes: int) -> bytes:
        """``get`` in a thread."""
        return await asyncio.to_thread(self.get, ref, max_bytes=max_bytes)

    def _write(self, path: str, data: bytes) -> None:
        if not self._root.is_local:
            self._root.fs.pipe_file(path, data)  # object stores write whole objects or nothing
            return
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        try:
            aside.write_bytes(data)
            aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)

    @staticmethod
    def _find(uri: str, roots: Sequence[_Root]) -> tuple[_Root, str]:
        for root in roots:
            path = root.resolve(uri)
            if path is not None:
                return root, path
        raise ForbiddenUri(f"{uri!r} lies outside the configured roots", hint=_ROOTS_HINT)

    @staticmethod
    def _check_size(ref: BlobRef, info: dict[str, Any], max_bytes: int) -> None:
        if info["type"] != "file":  # a folder, or a pipe or device that would be read for ever
            raise InvalidMedia(f"{ref.uri} is not a file")
        size = int(info["size"])
        if max(size, ref.size) > max_bytes:
            raise LimitExceeded(
                f"{ref.uri} has {max(size, ref.size)} bytes, more than the limit of {max_bytes}", hint=_LIMIT_HINT
            )
        if size != ref.size:
            raise InvalidMedia(f"{ref.uri} has {size} bytes; the event says {ref.size}")
