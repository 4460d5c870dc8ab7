"""Refine: from ranked chunks to evidence.

In: ``QueryReranked``. Out: ``QueryRefined``, or ``HitsRanked`` for a query that ends here. Each strong chunk gives the
piece of it that answers: the sentences, the lines on the page and their box, the seconds, the region. Repetition and
weak pieces are dropped, a token budget is kept. Raises ``TransientError`` where part vectors cannot be read.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from schemas.base import Event
from schemas.chunks import Channel
from schemas.queries import Candidate, Evidence, QueryAsked, QueryRefined, QueryReranked, QueryStage, QueryVectors
from workers.arrays import unpack
from workers.hits import Clock, ranked_evidence, wall_clock
from workers.late_interaction import similarities, weightiest
from workers.models.base import Parts
from workers.refining.gather import WEAK_SHARE, gather
from workers.refining.perceived import hear, show
from workers.refining.piece import Compared, Piece, Question
from workers.refining.quote import quote
from workers.rerank import PartsReader, expect, parts_of
from workers.stage import Output

SPARE = 2
"""Chunks looked at for each piece of evidence wanted: some fall away as repetition."""


class RefineStage:
    """``token_budget`` bounds the evidence of one query."""

    name = "refine"

    def __init__(self, parts: PartsReader, token_budget: int, *, clock: Clock = wall_clock) -> None:
        self._parts = parts
        self._token_budget = token_budget
        self._clock = clock

    async def start(self) -> None:
        """Nothing to load."""

    async def stop(self) -> None:
        """Nothing to release."""

    async def process(self, batch: Sequence[Event]) -> AsyncGenerator[Output, None]:
        for origin, event in enumerate(batch):
            query = expect(event, QueryReranked)
            strong = worth_refining(query.candidates, query.asked.limit)
            parts = await parts_of(self._parts, strong)
            evidence = await asyncio.to_thread(refine, query.asked, query.vectors, strong, parts, self._token_budget)
            yield Output(origin, self._result(query, evidence))

    def _result(self, query: QueryReranked, evidence: tuple[Evidence, ...]) -> Event:
        if query.asked.until_stage is QueryStage.REFINE:
            return ranked_evidence(query.asked, evidence, self._clock)
        return QueryRefined(
            tenant=query.tenant, trace=query.trace, query_id=query.query_id, asked=query.asked, evidence=evidence
        )


def worth_refining(candidates: Sequence[Candidate], limit: int) -> Sequence[Candidate]:
    """The candidates, best first, that can become evidence."""
    floor = WEAK_SHARE * candidates[0].score if candidates else 0.0
    return [candidate for candidate in candidates[: SPARE * limit] if candidate.score >= floor]


def refine(
    asked: QueryAsked, vectors: QueryVectors, candidates: Sequence[Candidate], parts: Sequence[Parts], token_budget: int
) -> tuple[Evidence, ...]:
    """The evidence out of ``candidates``, best first; ``parts`` are their part vectors, in the same order."""
    rows, weights = weightiest(unpack(vectors.parts), unpack(vectors.weights))
    question = Question(rows, weights, vectors.text)
    pieces = [
        piece_of(Compared(candidate, chunk_parts, similarities(rows, chunk_parts)), question)
        for candidate, chunk_parts in zip(candidates, parts, strict=True)
    ]
    return gather(pieces, asked.limit, token_budget)


def piece_of(compared: Compared, question: Question) -> Piece:
    """What of this chunk answers."""
    match compared.chunk.channel:
        case Channel.PICTURE:
            return show(compared, question)
        case Channel.SOUND:
            return hear(compared, question)
        case Channel.TEXT | Channel.SPEECH:
            return quote(compared, question)
