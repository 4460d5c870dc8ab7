"""Rerank: late interaction between the parts of the query and the parts of each candidate.

In: ``QueryRetrieved``. Out: ``QueryReranked``, or ``HitsRanked`` for a query that ends here. Raises ``TransientError``
where part vectors cannot be read. The score and its formula are in ``workers.relevance``.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Sequence
from typing import Protocol, TypeVar

import numpy as np

from schemas.base import Event
from schemas.chunks import PartsRef
from schemas.queries import Candidate, QueryReranked, QueryRetrieved, QueryStage, QueryVectors
from workers.arrays import unpack
from workers.hits import Clock, ranked, wall_clock
from workers.late_interaction import late_scores, weightiest
from workers.models.base import Parts
from workers.relevance import Signals, is_other_kind, relevance, word_scores
from workers.stage import Output

E = TypeVar("E", bound=Event)


class PartsReader(Protocol):
    """The part of ``workers.store.parts.PartsStore`` that queries use."""

    async def read_many(self, refs: Sequence[PartsRef]) -> list[Parts]:
        """The parts of each chunk, in order."""
        ...


class RerankStage:
    """Late interaction over the candidates of the first stage."""

    name = "rerank"

    def __init__(self, parts: PartsReader, *, clock: Clock = wall_clock) -> None:
        self._parts = parts
        self._clock = clock

    async def start(self) -> None:
        """Nothing to load."""

    async def stop(self) -> None:
        """Nothing to release."""

    async def process(self, batch: Sequence[Event]) -> AsyncGenerator[Output, None]:
        for origin, event in enumerate(batch):
            query = expect(event, QueryRetrieved)
            parts = await parts_of(self._parts, query.candidates)
            candidates = await asyncio.to_thread(rerank, query.vectors, query.candidates, parts)
            yield Output(origin, self._result(query, candidates))

    def _result(self, query: QueryRetrieved, candidates: tuple[Candidate, ...]) -> Event:
        if query.asked.until_stage is QueryStage.RERANK:
            return ranked(query.asked, QueryStage.RERANK, candidates, self._clock)
        return QueryReranked(
            tenant=query.tenant,
            trace=query.trace,
            query_id=query.query_id,
            asked=query.asked,
            vectors=query.vectors,
            candidates=candidates,
        )


def rerank(vectors: QueryVectors, candidates: Sequence[Candidate], parts: Sequence[Parts]) -> tuple[Candidate, ...]:
    """``candidates`` with their relevance, best first; each signal stays in ``scores``. ``parts`` in the same order."""
    query, weights = weightiest(unpack(vectors.parts), unpack(vectors.weights))
    late = late_scores(query, weights, parts)
    dense = unpack(vectors.dense)
    words = word_scores(
        vectors.text or " ".join(vectors.labels), [candidate.item.search_text for candidate in candidates]
    )
    scored = []
    for position, candidate in enumerate(candidates):
        signals = Signals(
            channel=candidate.item.chunk.channel,
            late=float(late[position]),
            dense=float(np.max(dense @ unpack(candidate.item.vector))) if len(dense) else 0.0,
            words=words[position],
            other_kind=is_other_kind(vectors.text, candidate.item.chunk),
        )
        score = relevance(signals)
        known = {"late": signals.late, "dense": signals.dense, "words": signals.words, "rerank": score}
        scores = candidate.scores | {name: value for name, value in known.items() if math.isfinite(value)}
        scored.append(candidate.model_copy(update={"score": score, "scores": scores}))
    return tuple(sorted(scored, key=lambda candidate: -candidate.score))


async def parts_of(reader: PartsReader, candidates: Sequence[Candidate]) -> list[Parts]:
    """The part vectors of each candidate; its own vector stands in where a chunk has none stored."""
    refs = [candidate.item.parts for candidate in candidates if candidate.item.parts is not None]
    stored = iter(await reader.read_many(refs) if refs else [])
    return [_own_vector(candidate) if candidate.item.parts is None else next(stored) for candidate in candidates]


def expect(event: Event, kind: type[E]) -> E:
    """``event``, which the topic promises to be of ``kind``: anything else is a fault of ours."""
    if not isinstance(event, kind):
        raise TypeError(f"expected {kind.__name__}, not {type(event).__name__}")
    return event


def _own_vector(candidate: Candidate) -> Parts:
    vector = unpack(candidate.item.vector)[None, :]
    return Parts(vectors=vector, places=np.zeros((1, 4), np.int32), weights=np.ones(1, np.float32))
