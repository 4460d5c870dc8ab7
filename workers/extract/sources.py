"""From an event to the bytes that it means, with what they really are.

In: inline bytes or a claim check. Out: a ``Source``. Raises ``InvalidEvent`` (neither), ``InvalidMedia`` (empty,
refused, mislabelled), ``LimitExceeded`` (bytes), ``ForbiddenUri``, ``TransientError`` (the blob store is away).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Protocol

from schemas.media import BlobRef, MediaReceived
from schemas.queries import QueryMedia
from workers.errors import InvalidEvent, LimitExceeded
from workers.extract.containers import settled
from workers.extract.draft import Source
from workers.extract.sniff import parse_content_type, sniff, sniff_head
from workers.extract.threads import in_thread
from workers.limits import Limits
from workers.sandbox.held import Data
from workers.sandbox.pool import Decoders

_MAX_HEADER: Final = 1000
"""Characters of a content type; longer ones are not declared by anybody who means it."""
_HEAD: Final = 64 * 1024
"""Bytes that tell every format but text."""


class Blobs(Protocol):
    """The part of ``workers.store.blobs.BlobStore`` that extraction uses."""

    def get(self, ref: BlobRef, *, max_bytes: int) -> bytes:
        """The bytes, checked against size and hash."""
        ...

    def put(self, data: bytes, content_type: str) -> BlobRef:
        """Store ``data``."""
        ...


@asynccontextmanager
async def opened_source(
    media: MediaReceived | QueryMedia, name: str, blobs: Blobs, limits: Limits, decoders: Decoders
) -> AsyncIterator[Source]:
    """The document, held by a decoder process, and what it is to be read as; ``name`` is a file name."""

    async def load() -> bytes:
        return await _bytes(media, blobs, limits)

    async with decoders.document(load) as document:
        declared = _declared(media)
        content_type, charset = await document.call(identified, declared, name, limits)
        yield Source(b"", content_type, name, charset, document)


async def _bytes(media: MediaReceived | QueryMedia, blobs: Blobs, limits: Limits) -> bytes:
    data, blob = media.data, media.blob
    if (data is None) == (blob is None):
        raise InvalidEvent(
            "the event carries no media" if data is None else "the event carries both bytes and a claim check",
            hint="send the bytes as the value, or a claim check to them, not both",
        )
    if blob is not None:
        data = await in_thread(blobs.get, blob, max_bytes=limits.max_bytes)
    assert data is not None
    if len(data) > limits.max_bytes:
        raise LimitExceeded(
            f"the document has {len(data)} bytes, more than {limits.max_bytes}",
            hint="publish a smaller file, or raise SENSORIUM_LIMITS__MAX_BYTES",
        )
    return data


def _declared(media: MediaReceived | QueryMedia) -> tuple[str, str]:
    """The content type of the event and that of its claim check, as far as they may be meant."""
    of_blob = media.blob.content_type if media.blob is not None else ""
    return media.content_type[:_MAX_HEADER], of_blob[:_MAX_HEADER]


def identified(data: Data, declared: tuple[str, str], name: str, limits: Limits) -> tuple[str, str]:
    """What a document is, by its bytes, and the charset that was declared for it."""
    said = declared[0] or declared[1]
    if declared[1] and parse_content_type(said)[0] == "application/octet-stream":
        said = ""
    charset = parse_content_type(said)[1]
    if isinstance(data, bytes) and len(data) <= _most_bytes(limits):
        return settled(data, sniff(data, said, name)), charset
    head = data[:_HEAD] if isinstance(data, bytes) else data.head(_HEAD)
    seen = sniff_head(head, said, name)
    if seen is None:
        raise LimitExceeded(
            f"the document is of no known format but text, and has more than {limits.max_text_chars} characters",
            hint="split the document, or raise SENSORIUM_LIMITS__MAX_TEXT_CHARS",
        )
    return settled(data, seen), charset


def _most_bytes(limits: Limits) -> int:
    """A text of more bytes has too many characters, whatever its encoding."""
    return 4 * limits.max_text_chars + 4
