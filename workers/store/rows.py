"""Embedded chunks to rows of the store and back. Raises ``InvalidEvent`` for a chunk that no row can hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from schemas.arrays import PackedArray
from schemas.base import Value
from schemas.chunks import Chunk, EmbeddedChunk, Features, Label, PartsRef
from workers.arrays import pack, unpack
from workers.errors import InvalidEvent
from workers.store.schema import DENSE, LENGTHS, MAX_TEXT_BYTES, group_of, shard
from workers.store.terms import folded

Row = dict[str, Any]
T = TypeVar("T")

OUTPUT_FIELDS = ["payload", DENSE]
"""What ``from_row`` needs."""


class _Payload(Value):
    """An ``EmbeddedChunk`` without its vector, which is a field of the row."""

    chunk: Chunk
    search_text: str
    parts: PartsRef | None = None


def to_row(item: EmbeddedChunk, dimension: int, received_ms: int = 0) -> Row:
    """The row of ``item``, which Kafka received at ``received_ms``; what does not fit into a payload is trimmed."""
    chunk = item.chunk
    row: Row = {
        "chunk_id": chunk.chunk_id,
        "shard": shard(chunk.tenant, group_of(chunk.channel)),
        "tenant": chunk.tenant,
        "document_id": chunk.document_id,
        "version": chunk.version,
        "source": chunk.source,
        "modality": chunk.modality.value,
        "channel": chunk.channel.value,
        "event_time_ms": chunk.event_time_ms,
        "start_ms": -1 if chunk.start_ms is None else chunk.start_ms,
        "end_ms": -1 if chunk.end_ms is None else chunk.end_ms,
        "received_ms": received_ms,
        "text": cut(folded(item.search_text), LENGTHS["text"]),
        "payload": _payload(item),
        DENSE: _vector(item, dimension),
    }
    for field in ("chunk_id", "tenant", "document_id", "source"):
        if len(row[field].encode()) > LENGTHS[field]:
            raise InvalidEvent(f"{field} of {chunk.document_id[:80]!r} is longer than {LENGTHS[field]} bytes")
    return row


def from_row(row: Mapping[str, Any]) -> EmbeddedChunk:
    """The chunk of a row that was read with ``OUTPUT_FIELDS``."""
    payload = _Payload.model_validate_json(row["payload"])
    vector: PackedArray = pack(np.asarray(row[DENSE], dtype=np.float32), "float32")
    return EmbeddedChunk(chunk=payload.chunk, vector=vector, search_text=payload.search_text, parts=payload.parts)


def cut(text: str, max_bytes: int) -> str:
    """``text``, at most ``max_bytes`` UTF-8 bytes of it, cut between characters."""
    if len(text) * 4 <= max_bytes:
        return text
    return text.encode()[:max_bytes].decode(errors="ignore")


def _vector(item: EmbeddedChunk, dimension: int) -> Any:
    vector = unpack(item.vector)
    if vector.shape != (dimension,) or not np.isfinite(vector).all():
        raise InvalidEvent(
            f"chunk {item.chunk.chunk_id} has a vector of shape {vector.shape}, or not of finite numbers; "
            f"the index has {dimension} dimensions",
            hint="the embed and index workers must run the same profile",
        )
    return vector.astype(np.float32)


def _payload(item: EmbeddedChunk) -> str:
    for smaller in _trimmed(_Payload(chunk=item.chunk, search_text=item.search_text, parts=item.parts)):
        text = smaller.model_dump_json(exclude_defaults=True)
        if len(text) * 4 <= MAX_TEXT_BYTES or len(text.encode()) <= MAX_TEXT_BYTES:
            return text
    raise InvalidEvent(f"the fields of chunk {item.chunk.chunk_id} do not fit into {MAX_TEXT_BYTES} bytes")


def _trimmed(payload: _Payload) -> Iterator[_Payload]:
    """``payload``, then less and less of it: unlikely labels first, the words of a quote last."""
    yield payload
    chunk, features = payload.chunk, payload.chunk.features
    for labels, share in ((5, 1.0), (2, 1.0), (1, 0.5), (1, 0.25), (1, 0.1), (0, 0.0)):
        less = _fewer(features, labels, share)
        chunk = chunk.model_copy(update={"features": less, "text": cut(chunk.text, MAX_TEXT_BYTES // 3)})
        search_text = cut(payload.search_text, 8192)
        yield payload.model_copy(update={"chunk": chunk, "search_text": search_text})


def _fewer(features: Features, labels: int, share: float) -> Features:
    """``labels`` labels a place, and the first ``share`` of the places."""

    def best(all_labels: tuple[Label, ...]) -> dict[str, tuple[Label, ...]]:
        return {"labels": all_labels[:labels]}

    return features.model_copy(
        update={
            "labels": features.labels[: max(1, 4 * labels)],
            "regions": tuple(
                region.model_copy(update=best(region.labels)) for region in _first(features.regions, share)
            ),
            "windows": tuple(
                window.model_copy(update=best(window.labels)) for window in _first(features.windows, share)
            ),
            "ocr": _first(features.ocr, share),
            "words": _first(features.words, share),
        }
    )


def _first(places: Sequence[T], share: float) -> tuple[T, ...]:
    return tuple(places[: round(len(places) * share)])
