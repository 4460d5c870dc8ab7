"""Chunks, queries and evidence for tests, in a toy space where a word has its own direction and synonyms share one."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np

from schemas.chunks import Box, Channel, Chunk, EmbeddedChunk, Features, Label, PartsRef, Region, SoundWindow
from schemas.media import BlobRef, Modality
from schemas.queries import Candidate, Evidence, QueryAsked, QueryVectors
from workers.arrays import pack
from workers.models.base import Floats, Parts
from workers.words import STOP_WORDS, stem

SIZE = 64
SYNONYMS = {"hound": "dog", "feline": "cat", "automobile": "car"}


def direction(word: str) -> Floats:
    """A unit vector that belongs to the word's stem."""
    known = stem(SYNONYMS.get(word.lower(), word))
    seed = int.from_bytes(hashlib.sha256(known.encode()).digest()[:8], "little")
    vector = np.random.default_rng(seed).standard_normal(SIZE).astype(np.float32)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def unit(vectors: Sequence[Floats]) -> Floats:
    mean = np.mean(vectors, axis=0).astype(np.float32)
    return np.asarray(mean / np.linalg.norm(mean), np.float32)


def text_parts(text: str) -> Parts:
    """One part a word, with its place."""
    found = [match for match in re.finditer(r"\w+", text) if match.group().lower() not in STOP_WORDS]
    vectors = np.array([direction(match.group()) for match in found], np.float32).reshape(-1, SIZE)
    places = np.array([(*match.span(), 0, 0) for match in found], np.int32).reshape(-1, 4)
    return Parts(vectors=vectors, places=places, weights=np.ones(len(found), np.float32))


def region_parts(regions: Sequence[Region]) -> Parts:
    vectors = np.array([unit([direction(label.name) for label in region.labels]) for region in regions], np.float32)
    places = np.array([[round(side * 10_000) for side in region.box] for region in regions], np.int32)
    return Parts(vectors=vectors, places=places, weights=np.ones(len(regions), np.float32))


def window_parts(windows: Sequence[SoundWindow]) -> Parts:
    vectors = np.array([unit([direction(label.name) for label in window.labels]) for window in windows], np.float32)
    places = np.array([(window.start_ms, window.end_ms, 0, 0) for window in windows], np.int32)
    return Parts(vectors=vectors, places=places, weights=np.ones(len(windows), np.float32))


def parts_for(chunk: Chunk) -> Parts:
    if chunk.features.regions:
        return region_parts(chunk.features.regions)
    return window_parts(chunk.features.windows) if chunk.features.windows else text_parts(chunk.text)


def chunk(chunk_id: str, text: str = "", /, **fields: object) -> Chunk:
    return Chunk.model_validate(
        {
            "chunk_id": chunk_id,
            "tenant": "default",
            "document_id": f"doc-{chunk_id}",
            "version": 1,
            "ordinal": 0,
            "source": "test",
            "source_uri": f"{chunk_id}.md",
            "modality": Modality.TEXT,
            "channel": Channel.TEXT,
            "content_type": "text/markdown",
            "event_time_ms": 1_700_000_000_000,
            "text": text,
            "start_char": 0 if text else None,
            "end_char": len(text) if text else None,
            **fields,
        }
    )


def region(box: Box, *names: str) -> Region:
    return Region(box=box, labels=tuple(Label(name=name, score=0.6) for name in names))


def window(start_ms: int, end_ms: int, *names: str) -> SoundWindow:
    labels = tuple(Label(name=name, score=0.6) for name in names)
    return SoundWindow(start_ms=start_ms, end_ms=end_ms, labels=labels)


def candidate(made: Chunk, score: float = 0.5, *, stored: bool = True) -> Candidate:
    parts = parts_for(made)
    names = [label.name for part in made.features.regions for label in part.labels]
    names += [label.name for part in made.features.windows for label in part.labels]
    ref = PartsRef(blob=BlobRef(uri=made.chunk_id, sha256="0", size=1), start=0, stop=len(parts.vectors))
    item = EmbeddedChunk(
        chunk=made,
        vector=pack(unit(list(parts.vectors)), "float32"),
        search_text=" ".join([made.text, *names]),
        parts=ref if stored else None,
    )
    return Candidate(item=item, score=score, scores={"retrieve": score})


def query(question: str) -> QueryVectors:
    parts = text_parts(question)
    return QueryVectors(
        text=question,
        dense=pack(unit(list(parts.vectors))[None, :], "float32"),
        parts=pack(parts.vectors, "float16"),
        weights=pack(parts.weights, "float32"),
    )


def asked(question: str, **fields: object) -> QueryAsked:
    return QueryAsked.model_validate({"query_id": "q1", "question": question, **fields})


def evidence(number: int, text: str, **fields: object) -> Evidence:
    return Evidence.model_validate(
        {
            "number": number,
            "chunk_id": f"c{number}",
            "document_id": f"d{number}",
            "version": 1,
            "source": "test",
            "source_uri": f"file{number}.md",
            "modality": Modality.TEXT,
            "content_type": "text/markdown",
            "event_time_ms": 1_700_000_000_000,
            "text": text,
            "score": 0.9,
            **fields,
        }
    )


class PartsInMemory:
    """A parts store that knows the parts of some chunks by the ``uri`` of their reference."""

    def __init__(self, *candidates: Candidate) -> None:
        self._parts = {made.item.chunk.chunk_id: parts_for(made.item.chunk) for made in candidates}

    async def read_many(self, refs: Sequence[PartsRef]) -> list[Parts]:
        return [self._parts[ref.blob.uri] for ref in refs]


def features(**fields: object) -> Features:
    return Features.model_validate(fields)
