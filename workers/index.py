"""Index: embedded chunks into the vector store, many events in one write.

In: ``ChunksEmbedded``. Out: ``ChunksIndexed``, once the rows are searchable (or gone). A new version of a document
removes the older ones when its last batch is written; what comes late loses (``workers.store.versions``). A deletion of
a source or of a tenant removes what Kafka had received before it, whichever worker writes it. Refuses with
``InvalidEvent`` chunks that no row can hold or that another index generation made; raises ``TransientError`` where the
store is away.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from typing import Protocol

from schemas.base import Event
from schemas.chunks import ChunksEmbedded, ChunksIndexed
from workers.errors import InvalidEvent
from workers.hits import Clock, wall_clock
from workers.stage import Output
from workers.store.plan import Plan, keys, scope_keys
from workers.store.rows import Row, to_row
from workers.store.versions import DocumentState


class ChunkStore(Protocol):
    """The part of ``workers.store.vectors.MilvusStore`` that writes."""

    dimension: int
    fingerprint: str

    async def start(self) -> None:
        """Connect."""

    async def stop(self) -> None:
        """Disconnect."""

    async def states(self, keys: Iterable[str]) -> dict[str, DocumentState]:
        """What is known of documents."""
        ...

    async def remember(self, states: Mapping[str, DocumentState]) -> None:
        """Keep what is known of documents."""

    async def write(self, rows: Sequence[Row]) -> None:
        """Upsert rows."""

    async def delete_versions(self, tenant: str, document_id: str, before_version: int) -> None:
        """Remove older versions."""

    async def delete_scope(self, tenant: str, source: str, received_ms: int) -> None:
        """Remove what Kafka had received by then."""


class IndexStage:
    """See the module."""

    name = "index"

    def __init__(self, store: ChunkStore, *, clock: Clock = wall_clock) -> None:
        self._store = store
        self._clock = clock

    async def start(self) -> None:
        """Connect to the store."""
        await self._store.start()

    async def stop(self) -> None:
        """Disconnect from the store."""
        await self._store.stop()

    async def process(self, batch: Sequence[Event]) -> AsyncGenerator[Output, None]:
        good: dict[int, tuple[ChunksEmbedded, list[Row]]] = {}
        for origin, event in enumerate(batch):
            try:
                embedded = _embedded(event)
                good[origin] = (embedded, self._rows(embedded))
            except InvalidEvent as error:
                yield Output(origin, error)
        plan = Plan(await self._store.states(sorted({key for event, _ in good.values() for key in keys(event)})))
        for origin, (event, rows) in good.items():
            plan.add(origin, event, rows)
        await self._apply(plan)
        searchable_ms = self._clock()
        for origin, (event, _) in good.items():
            yield Output(origin, _indexed(event, origin in plan.superseded, searchable_ms))

    def _rows(self, event: ChunksEmbedded) -> list[Row]:
        ours = self._store.fingerprint
        if event.chunks and ours and event.generation and event.generation != ours:
            raise InvalidEvent(
                f"the chunks were made by {event.generation!r}; this worker writes those of {ours!r}",
                hint="run the extract, embed and index workers with the same profile and limits",
            )
        return [to_row(item, self._store.dimension, event.trace.received_ms) for item in event.chunks]

    async def _apply(self, plan: Plan) -> None:
        """States before the rows that they announce: after a crash in between the events come again and do the rest."""
        await self._store.remember({key: plan.states[key] for key in sorted(plan.changed)})
        await self._store.write(plan.rows)
        for event, first_to_stay in plan.removals.values():
            await self._store.delete_versions(event.tenant, event.document_id, first_to_stay)
        scopes = plan.scopes
        if plan.rows:  # another worker may have deleted their source meanwhile, and have found nothing yet
            written = sorted({key for event in plan.written for key in scope_keys(event)})
            scopes = scopes | plan.covered_since(await self._store.states(written))
        for scope in scopes:
            await self._store.delete_scope(scope.tenant, scope.source, scope.received_ms)
        await self._store.remember(plan.cleaned())


def _indexed(event: ChunksEmbedded, superseded: bool, searchable_ms: int) -> ChunksIndexed:
    return ChunksIndexed(
        tenant=event.tenant,
        trace=event.trace,
        document_id=event.document_id,
        version=event.version,
        batch=event.batch,
        is_last=event.is_last,
        event_time_ms=event.event_time_ms,
        chunk_ids=() if superseded else tuple(item.chunk.chunk_id for item in event.chunks),
        is_deleted=event.is_deleted,
        scope=event.scope,
        superseded=superseded,
        searchable_ms=searchable_ms,
    )


def _embedded(event: Event) -> ChunksEmbedded:
    if not isinstance(event, ChunksEmbedded):
        raise TypeError(f"expected ChunksEmbedded, not {type(event).__name__}")
    return event
