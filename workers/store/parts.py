"""The part vectors of chunks: for late interaction, beside the index rather than in it.

Rows are kept as int8 with a scale each (a quarter of float32; cosines differ by less than 0.01). The parts that are
written together lie in files of bounded size in the blob store; a ``PartsRef`` names rows of one. Raises
``TransientError`` where the blob store is away.
"""

from __future__ import annotations

import asyncio
import io
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from schemas.chunks import PartsRef
from schemas.media import BlobRef
from workers.errors import InvalidEvent, InvalidMedia
from workers.models.base import Parts
from workers.store.blobs import BlobStore

log = structlog.get_logger(__name__)

_CONTENT_TYPE = "application/x-npz"
_ROWS_PER_FILE = 2048
_MAX_FILE_BYTES = 256 * 1024 * 1024
_READERS = 8


@dataclass(frozen=True, slots=True)
class _File:
    """``codes`` is ``(n, d)`` int8, ``scales`` and ``weights`` are ``(n,)`` float32, ``places`` is ``(n, 4)`` int32."""

    codes: NDArray[np.int8]
    scales: NDArray[np.float32]
    places: NDArray[np.int32]
    weights: NDArray[np.float32]

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return self.codes.nbytes + self.scales.nbytes + self.places.nbytes + self.weights.nbytes


class PartsStore:
    """Reads and writes part vectors; keeps the files that were read last in memory, up to ``cache_bytes``.

    Safe to use from several threads.
    """

    def __init__(self, blobs: BlobStore, *, cache_bytes: int = 128 * 1024 * 1024) -> None:
        self._blobs = blobs
        self._cache_bytes = cache_bytes
        self._cached: OrderedDict[str, _File] = OrderedDict()
        self._cached_bytes = 0
        self._lock = threading.Lock()

    async def write(self, parts: Sequence[Parts]) -> list[PartsRef]:
        """Store the parts of chunks; a reference each, in order. Chunks that lie together share files."""
        refs: list[PartsRef] = []
        for group in _groups(parts):
            blob = await asyncio.to_thread(self._write_file, group)
            stop = 0
            for each in group:
                start, stop = stop, stop + len(each.vectors)
                refs.append(PartsRef(blob=blob, start=start, stop=stop))
        return refs

    async def read(self, ref: PartsRef) -> Parts:
        """The parts of one chunk. Raises ``InvalidMedia`` where they are missing or damaged."""
        file = await asyncio.to_thread(self._file, ref.blob)
        return _slice(file, ref)

    async def read_many(self, refs: Sequence[PartsRef]) -> list[Parts]:
        """The parts of chunks, in order. Missing ones are empty, since a question does without them, and are logged."""
        blobs = {ref.blob.sha256: ref.blob for ref in refs}
        slots = asyncio.Semaphore(_READERS)

        async def load(blob: BlobRef) -> _File | InvalidEvent:
            async with slots:
                try:
                    return await asyncio.to_thread(self._file, blob)
                except InvalidEvent as error:
                    return error

        files = dict(zip(blobs, await asyncio.gather(*map(load, blobs.values())), strict=True))
        dimension = next((file.codes.shape[1] for file in files.values() if isinstance(file, _File)), 0)
        return [_or_empty(files[ref.blob.sha256], ref, dimension) for ref in refs]

    def _write_file(self, parts: Sequence[Parts]) -> BlobRef:
        vectors = np.concatenate([each.vectors for each in parts]).astype(np.float32)
        codes, scales = quantised(vectors)
        buffer = io.BytesIO()
        np.savez(
            buffer,
            codes=codes,
            scales=scales,
            places=np.concatenate([each.places for each in parts]).astype(np.int32),
            weights=np.concatenate([each.weights for each in parts]).astype(np.float32),
        )
        return self._blobs.put(buffer.getvalue(), _CONTENT_TYPE)

    def _file(self, blob: BlobRef) -> _File:
        with self._lock:
            if blob.sha256 in self._cached:
                self._cached.move_to_end(blob.sha256)
                return self._cached[blob.sha256]
        file = _decoded(self._blobs.get(blob, max_bytes=_MAX_FILE_BYTES), blob.uri)
        with self._lock:
            if blob.sha256 not in self._cached:
                self._cached[blob.sha256] = file
                self._cached_bytes += file.size
            while self._cached_bytes > self._cache_bytes and len(self._cached) > 1:
                _, oldest = self._cached.popitem(last=False)
                self._cached_bytes -= oldest.size
        return file


def quantised(vectors: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Rows ``(n, d)`` as int8 and the ``(n,)`` scales that bring them back: ``codes * scales[:, None]``."""
    largest = np.abs(vectors).max(axis=1, initial=0.0)
    scales = np.where(largest > 0, largest / 127.0, 1.0).astype(np.float32)
    return np.rint(vectors / scales[:, None]).astype(np.int8), scales


def _groups(parts: Sequence[Parts]) -> Iterator[list[Parts]]:
    group: list[Parts] = []
    rows = 0
    for each in parts:
        if group and rows + len(each.vectors) > _ROWS_PER_FILE:
            yield group
            group, rows = [], 0
        group.append(each)
        rows += len(each.vectors)
    if group:
        yield group


def _decoded(data: bytes, uri: str) -> _File:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            file = _File(arrays["codes"], arrays["scales"], arrays["places"], arrays["weights"])
    except (ValueError, KeyError, OSError, EOFError) as error:
        raise InvalidMedia(f"{uri} holds no part vectors: {error}") from error
    rows = len(file.codes)
    shapes: tuple[Any, ...] = (file.codes.ndim, file.scales.shape, file.places.shape, file.weights.shape)
    if shapes != (2, (rows,), (rows, 4), (rows,)):
        raise InvalidMedia(f"{uri} holds part vectors of the wrong shape")
    return file


def _slice(file: _File, ref: PartsRef) -> Parts:
    if not 0 <= ref.start <= ref.stop <= len(file.codes):
        raise InvalidMedia(f"{ref.blob.uri} has {len(file.codes)} part vectors; rows {ref.start}-{ref.stop} were named")
    rows = slice(ref.start, ref.stop)
    vectors = file.codes[rows] * file.scales[rows, None]
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return Parts(
        vectors=vectors / np.maximum(lengths, 1e-12),
        places=file.places[rows],
        weights=file.weights[rows],
    )


def _or_empty(file: _File | InvalidEvent, ref: PartsRef, dimension: int) -> Parts:
    try:
        if isinstance(file, InvalidEvent):
            raise file
        return _slice(file, ref)
    except InvalidEvent as error:
        log.warning("part vectors are missing", reason=error.reason)
        none = np.zeros(0, np.float32)
        return Parts(vectors=none.reshape(0, dimension), places=np.zeros((0, 4), np.int32), weights=none)
