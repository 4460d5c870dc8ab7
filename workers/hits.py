"""Ranked hits: what a query that stops before ``generate`` gives back. Shared by retrieve, rerank and refine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from schemas.answers import Hit, HitsRanked
from schemas.chunks import Chunk
from schemas.queries import Candidate, Evidence, QueryAsked, QueryStage

Clock = Callable[[], int]
"""The wall clock, milliseconds since the epoch."""

_SHARED = (
    "chunk_id",
    "document_id",
    "version",
    "source",
    "source_uri",
    "modality",
    "content_type",
    "event_time_ms",
    "page",
    "box",
    "start_char",
    "end_char",
    "start_ms",
    "end_ms",
    "media",
)
"""What a hit has from its chunk or its evidence as it is."""


def wall_clock() -> int:
    """The machine's own clock, milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def ranked(asked: QueryAsked, stage: QueryStage, candidates: Sequence[Candidate], clock: Clock) -> HitsRanked:
    """The first ``asked.limit`` of ``candidates``, best first, as the end of the query."""
    hits = [to_hit(candidate, rank) for rank, candidate in enumerate(candidates[: asked.limit], start=1)]
    return _finish(asked, stage, hits, clock)


def ranked_evidence(asked: QueryAsked, evidence: Sequence[Evidence], clock: Clock) -> HitsRanked:
    """The first ``asked.limit`` pieces of evidence, best first, as the end of a query that stops at ``refine``."""
    hits = [evidence_hit(piece, rank) for rank, piece in enumerate(evidence[: asked.limit], start=1)]
    return _finish(asked, QueryStage.REFINE, hits, clock)


def to_hit(candidate: Candidate, rank: int) -> Hit:
    """A candidate, flat. A chunk without words has what it shows or sounds like as its text."""
    chunk = candidate.item.chunk
    return Hit(
        rank=rank,
        score=candidate.score,
        scores=candidate.scores,
        text=chunk.text or described(chunk),
        **{name: getattr(chunk, name) for name in _SHARED},
    )


def evidence_hit(evidence: Evidence, rank: int) -> Hit:
    """A piece of evidence, flat."""
    return Hit(
        rank=rank, score=evidence.score, text=evidence.text, **{name: getattr(evidence, name) for name in _SHARED}
    )


def described(chunk: Chunk, at_least: float = 0.1) -> str:
    """What the chunk shows, then what is heard in it, each name once: ``"tabby cat, purr"``.

    Of each place the names with a score of ``at_least``, and the best one in any case.
    """
    features = chunk.features
    places = [features.labels, *(region.labels for region in features.regions), *(w.labels for w in features.windows)]
    names = [
        label.name for labels in places for rank, label in enumerate(labels) if rank == 0 or label.score >= at_least
    ]
    return ", ".join(dict.fromkeys(names))


def _finish(asked: QueryAsked, stage: QueryStage, hits: Sequence[Hit], clock: Clock) -> HitsRanked:
    return HitsRanked(
        tenant=asked.tenant,
        trace=asked.trace,
        query_id=asked.query_id,
        attempt=1,
        seq=0,
        at_ms=clock(),
        stage=stage,
        hits=tuple(hits),
    )
