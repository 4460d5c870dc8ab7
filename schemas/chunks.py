"""Chunks of documents, the features that were read out of them, and their vectors."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from schemas.arrays import PackedArray
from schemas.base import Value
from schemas.media import BlobRef, DocumentEvent, Modality, Scope

Box = tuple[float, float, float, float]
"""``(x0, y0, x1, y1)`` in 0–1 units of the page or frame; origin top left."""


class Channel(StrEnum):
    """What of a chunk its vector stands for; scores are comparable within a channel."""

    TEXT = "text"
    """Words that were written: a passage, or what OCR read."""
    SPEECH = "speech"
    """Words that were spoken."""
    PICTURE = "picture"
    """What an image, a page or a shot shows."""
    SOUND = "sound"
    """What is heard, other than words."""


class Label(Value):
    """A class with its probability."""

    name: str
    score: float = Field(ge=0, le=1)


class Region(Value):
    """A part of a picture and what it shows."""

    box: Box
    labels: tuple[Label, ...]


class SoundWindow(Value):
    """A stretch of sound and what is heard in it; times on the document's time line."""

    start_ms: int
    end_ms: int
    labels: tuple[Label, ...]


class OcrLine(Value):
    """A line that OCR read. ``text`` stands at ``[start_char, end_char)`` of the chunk's text."""

    text: str
    box: Box
    score: float = Field(ge=0, le=1)
    start_char: int = 0
    end_char: int = 0


class Word(Value):
    """A spoken word, on the document's time line. It stands at ``[start_char, end_char)`` of the chunk's text."""

    text: str
    start_ms: int
    end_ms: int
    probability: float = Field(1.0, ge=0, le=1)
    start_char: int = 0
    end_char: int = 0


class Features(Value):
    """What was read out of a chunk."""

    labels: tuple[Label, ...] = ()
    regions: tuple[Region, ...] = ()
    windows: tuple[SoundWindow, ...] = ()
    ocr: tuple[OcrLine, ...] = ()
    words: tuple[Word, ...] = ()
    language: str = ""


class Chunk(Value):
    """One retrievable piece of a document, with the way back to its exact place in the source.

    ``start_char``/``end_char`` count characters of the document's text, ``page`` counts from 1, ``start_ms``/``end_ms``
    are on the document's own time line; what does not apply is ``None``.
    """

    chunk_id: str
    tenant: str
    document_id: str
    version: int
    ordinal: int
    source: str
    source_uri: str
    modality: Modality
    channel: Channel
    content_type: str
    event_time_ms: int
    text: str = ""
    title: str = Field("", description="heading path or file name; context for ranking, not evidence")
    start_char: int | None = None
    end_char: int | None = None
    page: int | None = None
    box: Box | None = None
    start_ms: int | None = None
    end_ms: int | None = None
    features: Features = Features()
    media: BlobRef | None = Field(None, description="the picture or the sound of this chunk as a file of its own")


class PartsRef(Value):
    """Where the part vectors of a chunk lie: rows ``[start, stop)`` of an array file in the blob store."""

    blob: BlobRef
    start: int
    stop: int


class EmbeddedChunk(Value):
    """A chunk with its vector in the unified space and the text that BM25 reads."""

    chunk: Chunk
    vector: PackedArray
    search_text: str
    parts: PartsRef | None = None


class ChunkBatch(DocumentEvent):
    """Some chunks of one document; a long document is several batches, ``is_last`` on its last.

    A document without anything in it is one last batch without chunks: it replaces its older version all the same.
    """

    batch: int = Field(0, ge=0, description="position of this batch within the document")
    is_last: bool = True
    event_time_ms: int
    scope: Scope | None = Field(None, description="with ``is_deleted``: not this document, but all of a scope")


class ChunksExtracted(ChunkBatch):
    """Chunks with their features, or, with ``is_deleted``, the removal of a document on its way to the index."""

    ce_type: ClassVar[str] = "sensorium.chunks.extracted.v1"

    chunks: tuple[Chunk, ...] = ()
    is_deleted: bool = False


class ChunksEmbedded(ChunkBatch):
    """Chunks with their vectors."""

    ce_type: ClassVar[str] = "sensorium.chunks.embedded.v1"

    chunks: tuple[EmbeddedChunk, ...] = ()
    is_deleted: bool = False
    generation: str = Field("", description="the index generation (models and chunking) that the vectors belong to")


class ChunksIndexed(ChunkBatch):
    """Chunks are searchable from now on (or, with ``is_deleted``, gone)."""

    ce_type: ClassVar[str] = "sensorium.chunks.indexed.v1"

    chunk_ids: tuple[str, ...] = ()
    is_deleted: bool = False
    superseded: bool = Field(False, description="a newer version or a deletion was there first; nothing was written")
    searchable_ms: int = Field(description="when the rows became searchable, milliseconds since the epoch")
