"""What refining works with: a question as it is compared, a chunk with its similarities, a piece of evidence to be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from schemas.chunks import Box, Chunk
from schemas.queries import Candidate, Evidence
from workers.models.base import Floats, Parts
from workers.words import asked, content, coverage


@dataclass(frozen=True)
class Question:
    """``parts`` is ``(n, d)`` with unit rows, ``weights`` is ``(n,)`` and sums to 1, ``text`` is all of its words."""

    parts: Floats
    weights: Floats
    text: str = ""

    @cached_property
    def stems(self) -> frozenset[str]:
        """Its exact words."""
        return asked(self.text)

    def match(self, similar: Floats) -> float:
        """MaxSim of the question with some parts of a chunk, ``(n, m)``: -1 to 1."""
        if not similar.size:
            return 0.0
        return float(similar.max(axis=1) @ self.weights)

    def words(self, text: str) -> float:
        """The share of the question's exact words that ``text`` holds."""
        return coverage(self.stems, content(text))


@dataclass(frozen=True, slots=True)
class Compared:
    """A candidate and ``similar`` ``(n, m)``: each part of the question with each of the chunk's ``parts``."""

    candidate: Candidate
    parts: Parts
    similar: Floats

    @property
    def chunk(self) -> Chunk:
        return self.candidate.item.chunk


@dataclass(frozen=True, slots=True)
class Piece:
    """A quotation, or what is shown or heard, with its place; ``vector`` is that of the chunk."""

    chunk: Chunk
    score: float
    text: str
    vector: Floats
    start_char: int | None = None
    end_char: int | None = None
    box: Box | None = None
    start_ms: int | None = None
    end_ms: int | None = None

    def with_place(self, **changes: Any) -> Piece:
        """The same piece, its text or place changed."""
        return replace(self, **changes)

    def evidence(self, number: int) -> Evidence:
        """The piece as evidence that is cited as ``[number]``."""
        chunk = self.chunk
        return Evidence(
            number=number,
            chunk_id=chunk.chunk_id,
            document_id=chunk.document_id,
            version=chunk.version,
            source=chunk.source,
            source_uri=chunk.source_uri,
            modality=chunk.modality,
            channel=chunk.channel,
            content_type=chunk.content_type,
            event_time_ms=chunk.event_time_ms + (self.start_ms or 0) - (chunk.start_ms or 0),
            text=self.text,
            score=self.score,
            title=chunk.title,
            page=chunk.page,
            box=self.box,
            start_char=self.start_char,
            end_char=self.end_char,
            start_ms=self.start_ms,
            end_ms=self.end_ms,
            media=chunk.media,
        )


def overlapping(
    places: np.ndarray[Any, np.dtype[np.int32]], start: int, end: int
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which of ``(m, 4)`` places, read as ``(start, end, …)``, lie at least partly in ``[start, end)``."""
    return (places[:, 0] < end) & (places[:, 1] > start)
