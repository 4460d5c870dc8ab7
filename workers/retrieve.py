"""Retrieve: the first stage of a query. Dense vectors and BM25 in one hybrid query, fused by rank.

In: ``QueryAsked``. Out: ``QueryRetrieved``, or ``HitsRanked`` for a query that ends here. Refuses with ``InvalidEvent``
a question without a usable part; raises ``TransientError`` where the store is away.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Protocol

import numpy as np

from schemas.base import Event
from schemas.queries import Candidate, QueryAsked, QueryRetrieved, QueryStage, QueryVectors
from workers.arrays import pack
from workers.embed import Encoders
from workers.errors import InvalidEvent
from workers.extract.draft import Recognisers
from workers.extract.query import QueryFeatures, read_query
from workers.hits import Clock, ranked, wall_clock
from workers.limits import Limits
from workers.models.base import Embedding, Floats
from workers.stage import Output
from workers.store.blobs import BlobStore
from workers.store.request import SearchRequest

_MAX_MEDIA_VECTORS = 3
"""Vectors of one kind of media that are searched with: a video has many pictures, and each is a search of its own."""
_MAX_RESULT_BYTES = 6 * 1024 * 1024
"""Of the candidates of one query, so that its event fits into a message."""


class QueryModels(Recognisers, Encoders, Protocol):
    """Reads and embeds questions."""


class SearchStore(Protocol):
    """The part of ``workers.store.vectors.MilvusStore`` that searches."""

    async def start(self) -> None:
        """Connect."""

    async def stop(self) -> None:
        """Disconnect."""

    async def search(self, request: SearchRequest) -> list[Candidate]:
        """The best candidates."""
        ...


class RetrieveStage:
    """See the module. ``candidates`` is how many chunks the reranker gets, unless the asker wants more."""

    name = "retrieve"

    def __init__(
        self,
        store: SearchStore,
        blobs: BlobStore,
        models: QueryModels,
        limits: Limits,
        candidates: int,
        *,
        clock: Clock = wall_clock,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._models = models
        self._limits = limits
        self._candidates = candidates
        self._clock = clock

    async def start(self) -> None:
        """Connect to the store and load the encoder of words; what media need is loaded when it is asked."""
        await self._store.start()
        await self._models.run(getattr, self._models, "text")

    async def stop(self) -> None:
        """Disconnect from the store."""
        await self._store.stop()

    async def process(self, batch: Sequence[Event]) -> AsyncGenerator[Output, None]:
        answers = await asyncio.gather(*(self._retrieve(_asked(event)) for event in batch))
        for origin, answer in enumerate(answers):
            yield Output(origin, answer)

    async def _retrieve(self, asked: QueryAsked) -> Event | InvalidEvent:
        try:
            features = await read_query(asked, self._blobs, self._models, self._limits)
            embedded = await self._models.run(_embed, self._models, features)
        except InvalidEvent as error:
            return error
        vectors = query_vectors(features, embedded, self._models.dimension)
        request = SearchRequest(
            tenant=asked.tenant,
            dense=search_vectors(embedded, self._models.dimension),
            text=" ".join([features.text, *features.labels]),
            limit=max(asked.limit, self._candidates),
            filters=asked.filters,
        )
        found = await self._store.search(request)
        if asked.until_stage is QueryStage.RETRIEVE:
            return ranked(asked, QueryStage.RETRIEVE, found, self._clock)
        return QueryRetrieved(
            tenant=asked.tenant,
            trace=asked.trace,
            query_id=asked.query_id,
            asked=asked,
            vectors=vectors,
            candidates=tuple(_within(found, _MAX_RESULT_BYTES)),
        )


def query_vectors(features: QueryFeatures, embedded: Sequence[Sequence[Embedding]], dimension: int) -> QueryVectors:
    """All vectors of a query. ``embedded``: of its words, of its pictures, of its sounds.

    Each kind weighs the same, whatever its number of parts: a long text does not drown the picture beside it.
    """
    kinds = [kind for kind in embedded if kind]
    every = [embedding for kind in kinds for embedding in kind]
    return QueryVectors(
        text=features.text,
        dense=pack(_stacked([each.vector[None] for each in every], dimension), "float32"),
        parts=pack(_stacked([each.parts.vectors for each in every], dimension), "float16"),
        weights=pack(np.concatenate([np.zeros(0, np.float32), *map(_weights, kinds)]), "float32"),
        labels=features.labels,
    )


def search_vectors(embedded: Sequence[Sequence[Embedding]], dimension: int) -> Floats:
    """``(q, d)``: the vectors to search with; of many pictures or sounds some, evenly spread."""
    return _stacked([each.vector[None] for kind in embedded for each in _spread(kind)], dimension)


def _spread(kind: Sequence[Embedding]) -> list[Embedding]:
    count = min(len(kind), _MAX_MEDIA_VECTORS)
    return [kind[round(index)] for index in np.linspace(0, len(kind) - 1, count)] if kind else []


def _weights(kind: Sequence[Embedding]) -> Floats:
    weights = np.concatenate([each.parts.weights for each in kind]).astype(np.float32)
    return weights / max(float(weights.sum()), 1e-12)


def _stacked(rows: Iterable[Floats], dimension: int) -> Floats:
    return np.concatenate([np.zeros((0, dimension), np.float32), *rows])


def _embed(models: QueryModels, features: QueryFeatures) -> tuple[list[Embedding], list[Embedding], list[Embedding]]:
    """In the models' thread: the words, the pictures and the sounds of a query."""
    words = models.text.encode([features.text]) if features.text.strip() else []
    pictures = models.image.encode(features.images) if features.images else []
    sounds = models.sound.encode(features.sounds) if features.sounds else []
    return words, pictures, sounds


def _within(candidates: Sequence[Candidate], max_bytes: int) -> Iterable[Candidate]:
    """The best candidates whose JSON takes ``max_bytes`` at most."""
    size = 0
    for candidate in candidates:
        size += len(candidate.item.model_dump_json())
        if size > max_bytes:
            return
        yield candidate


def _asked(event: Event) -> QueryAsked:
    if not isinstance(event, QueryAsked):
        raise TypeError(f"expected QueryAsked, not {type(event).__name__}")
    return event
