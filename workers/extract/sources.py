"""From an event to the bytes that it means, with what they really are.

In: inline bytes or a claim check. Out: a ``Source``. Raises ``InvalidEvent`` (neither), ``InvalidMedia`` (empty,
refused, mislabelled), ``LimitExceeded`` (bytes), ``ForbiddenUri``, ``TransientError`` (the blob store is away).
"""

from __future__ import annotations

from typing import Protocol

from schemas.media import BlobRef, MediaReceived
from schemas.queries import QueryMedia
from workers.errors import InvalidEvent, LimitExceeded
from workers.extract.containers import settled
from workers.extract.draft import Source
from workers.extract.sniff import parse_content_type, sniff
from workers.limits import Limits


class Blobs(Protocol):
    """The part of ``workers.store.blobs.BlobStore`` that extraction uses."""

    def get(self, ref: BlobRef, *, max_bytes: int) -> bytes:
        """The bytes, checked against size and hash."""
        ...

    def put(self, data: bytes, content_type: str) -> BlobRef:
        """Store ``data``."""
        ...


def load_source(media: MediaReceived | QueryMedia, name: str, blobs: Blobs, limits: Limits) -> Source:
    """The bytes and what they are to be read as; ``name`` is a file name. Blocks: call it in a thread."""
    data, blob, content_type = media.data, media.blob, media.content_type
    if (data is None) == (blob is None):
        raise InvalidEvent(
            "the event carries no media" if data is None else "the event carries both bytes and a claim check",
            hint="send the bytes as the value, or a claim check to them, not both",
        )
    if blob is not None:
        data = blobs.get(blob, max_bytes=limits.max_bytes)
        unsaid = content_type or blob.content_type
        content_type = unsaid if parse_content_type(unsaid)[0] != "application/octet-stream" else ""
    assert data is not None
    if len(data) > limits.max_bytes:
        raise LimitExceeded(
            f"the document has {len(data)} bytes, more than {limits.max_bytes}",
            hint="publish a smaller file, or raise SENSORIUM_LIMITS__MAX_BYTES",
        )
    charset = parse_content_type(content_type)[1]
    return Source(data, settled(data, sniff(data, content_type, name)), name, charset)
