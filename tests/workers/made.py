"""Made-up chunks, and encoders without weights, for tests of the stages around the stores."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from schemas.chunks import Channel, Chunk, ChunksEmbedded, ChunksExtracted, EmbeddedChunk
from schemas.media import Modality
from workers.arrays import pack
from workers.ids import chunk_id
from workers.models.base import Embedding, Floats, ImageInput, Parts, SoundInput

DIMENSION = 8
T = TypeVar("T")


def direction(of: str, dimension: int = DIMENSION) -> Floats:
    """A unit vector that depends on ``of`` alone."""
    seed = int.from_bytes(hashlib.sha256(of.encode()).digest()[:8], "little")
    vector = np.random.default_rng(seed).normal(size=dimension).astype(np.float32)
    return vector / np.float32(np.linalg.norm(vector))


def made_chunk(document: str = "d", place: str = "0", **changes: Any) -> Chunk:
    """A passage of a document of tenant ``t``; ``changes`` are fields of the chunk."""
    fields: dict[str, Any] = {
        "tenant": "t",
        "version": 1,
        "ordinal": 0,
        "source": "s",
        "source_uri": f"file:///{document}",
        "modality": Modality.TEXT,
        "channel": Channel.TEXT,
        "content_type": "text/plain",
        "event_time_ms": 1000,
        "text": f"words of {document}",
    } | changes
    identity = chunk_id(fields["tenant"], document, fields["version"], place)
    return Chunk(**{"chunk_id": identity, "document_id": document} | fields)


def made_item(document: str = "d", place: str = "0", **changes: Any) -> EmbeddedChunk:
    """The chunk with a vector that depends on its text alone."""
    chunk = made_chunk(document, place, **changes)
    return EmbeddedChunk(chunk=chunk, vector=pack(direction(chunk.text), "float32"), search_text=chunk.text)


def extracted(document: str, chunks: Sequence[Chunk], **changes: Any) -> ChunksExtracted:
    """The event of a document of one batch."""
    fields: dict[str, Any] = {"tenant": "t", "version": 1, "event_time_ms": 1000} | changes
    return ChunksExtracted(document_id=document, chunks=tuple(chunks), **fields)


def embedded(document: str, version: int = 1, places: Sequence[str] = ("0",), **changes: Any) -> ChunksEmbedded:
    """The event of a document whose chunks lie at ``places``."""
    items = tuple(
        made_item(document, place, version=version, text=f"{document} {place} v{version}") for place in places
    )
    fields: dict[str, Any] = {"tenant": "t", "event_time_ms": 1000, "chunks": items} | changes
    return ChunksEmbedded(document_id=document, version=version, **fields)


class WordEncoder:
    """Text by its whole, its parts by its words; counts its calls."""

    dimension = DIMENSION
    name = "words"

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def encode(self, texts: Sequence[str]) -> list[Embedding]:
        """One part a word."""
        self.calls.append(list(texts))
        return [Embedding(direction(text), _parts(text.split())) for text in texts]


class LabelEncoder:
    """Pictures and sounds by what was recognised in them; loads them when asked to."""

    dimension = DIMENSION
    name = "labels"
    loads = False

    def encode(self, inputs: Sequence[ImageInput | SoundInput]) -> list[Embedding]:
        """One part a region or window."""
        return [self._encode(each) for each in inputs]

    def _encode(self, each: ImageInput | SoundInput) -> Embedding:
        if self.loads:
            each.load()
        places = each.regions if isinstance(each, ImageInput) else each.windows
        names = [place.labels[0].name for place in places]
        if isinstance(each, ImageInput):
            names += [label.name for label in each.labels]
        return Embedding(direction(" ".join(names)), _parts(names))


class MadeModels:
    """What the stages need of ``workers.models.profiles.Models``."""

    generation = "g1"
    dimension = DIMENSION

    def __init__(self) -> None:
        self.text = WordEncoder()
        self.image = LabelEncoder()
        self.sound = LabelEncoder()

    async def run(self, fn: Callable[..., T], *args: object) -> T:
        """At once."""
        return fn(*args)


def _parts(names: Sequence[str]) -> Parts:
    vectors = np.array([direction(name) for name in names], np.float32).reshape(len(names), DIMENSION)
    places = np.array([(i, i + 1, 0, 0) for i in range(len(names))], np.int32).reshape(len(names), 4)
    return Parts(vectors=vectors, places=places, weights=np.ones(len(names), np.float32))
