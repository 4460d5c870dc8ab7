"""The index stage: versions, deletions and repeats, on a real milvus-lite server and beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

import pytest

from schemas.base import Event, Trace
from schemas.chunks import ChunksEmbedded, ChunksIndexed
from schemas.media import Scope
from tests.workers.made import DIMENSION, embedded, made_item
from tests.workers.store.conftest import milvus_uri, store
from workers.errors import InvalidEvent, TransientError
from workers.index import IndexStage
from workers.stage import Output
from workers.store.rows import Row
from workers.store.vectors import MilvusStore
from workers.store.versions import DocumentState, scope_key

__all__ = ["milvus_uri", "store"]  # fixtures

NOW_MS = 1_700_000_000_000


async def run(stage: IndexStage, *events: Event) -> list[ChunksIndexed]:
    outputs = sorted([output async for output in stage.process(events)], key=lambda output: output.origin)
    assert [output.origin for output in outputs] == list(range(len(events)))
    results = [output.result for output in outputs]
    return [result for result in results if isinstance(result, ChunksIndexed)]


class MemoryStore:
    """Rows and states in dictionaries; may fail once, before its ``fail_at``-th call."""

    dimension = DIMENSION
    fingerprint = "g1"

    def __init__(self, fail_at: int = -1) -> None:
        self.rows: dict[str, Row] = {}
        self.known: dict[str, DocumentState] = {}
        self.calls: list[str] = []
        self.fail_at = fail_at

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    def _call(self, name: str) -> None:
        if len(self.calls) == self.fail_at:
            self.fail_at = -1
            raise TransientError("away")
        self.calls.append(name)

    async def states(self, keys: Iterable[str]) -> dict[str, DocumentState]:
        self._call("states")
        return {key: self.known[key] for key in keys if key in self.known}

    async def remember(self, states: Mapping[str, DocumentState]) -> None:
        if states:
            self._call("remember")
        self.known |= states

    async def write(self, rows: Sequence[Row]) -> None:
        if rows:
            self._call("write")
        self.rows |= {row["chunk_id"]: row for row in rows}

    async def delete_versions(self, tenant: str, document_id: str, before_version: int) -> None:
        self._call("delete")
        self.rows = {
            key: row
            for key, row in self.rows.items()
            if (row["tenant"], row["document_id"]) != (tenant, document_id) or row["version"] >= before_version
        }

    async def delete_scope(self, tenant: str, source: str, received_ms: int) -> None:
        self._call("delete scope")
        self.rows = {
            key: row
            for key, row in self.rows.items()
            if row["tenant"] != tenant or (source and row["source"] != source) or row["received_ms"] > received_ms
        }

    @property
    def versions(self) -> list[tuple[str, int]]:
        return sorted((row["document_id"], row["version"]) for row in self.rows.values())


@pytest.fixture
def memory() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
async def stage(memory: MemoryStore) -> AsyncIterator[IndexStage]:
    stage = IndexStage(memory, clock=lambda: NOW_MS)
    await stage.start()
    yield stage
    await stage.stop()


async def test_many_events_are_one_write(stage: IndexStage, memory: MemoryStore) -> None:
    events = [embedded(f"d{i}", places=("0", "1")) for i in range(10)]
    results = await run(stage, *events)
    assert memory.calls == ["states", "remember", "write", "states"]
    assert len(memory.rows) == 20
    for event, result in zip(events, results, strict=True):
        assert result.chunk_ids == tuple(item.chunk.chunk_id for item in event.chunks)
        assert (result.document_id, result.searchable_ms, result.superseded) == (event.document_id, NOW_MS, False)


async def test_a_new_version_replaces_the_old_one_when_it_is_complete(stage: IndexStage, memory: MemoryStore) -> None:
    await run(stage, embedded("d", 1), embedded("other", 1))
    await run(stage, embedded("d", 2, ["0"], is_last=False))
    assert memory.versions == [("d", 1), ("d", 2), ("other", 1)]
    await run(stage, embedded("d", 2, ["1"], batch=1))
    assert memory.versions == [("d", 2), ("d", 2), ("other", 1)]
    assert "delete" in memory.calls
    memory.calls.clear()
    await run(stage, embedded("d", 2, ["1"], batch=1))
    assert "delete" not in memory.calls


async def test_an_empty_version_replaces_too(stage: IndexStage, memory: MemoryStore) -> None:
    await run(stage, embedded("d", 1))
    [result] = await run(stage, embedded("d", 2, []))
    assert memory.versions == []
    assert not result.superseded


async def test_late_versions_are_superseded(stage: IndexStage, memory: MemoryStore) -> None:
    await run(stage, embedded("d", 2))
    [late] = await run(stage, embedded("d", 1))
    assert late.superseded
    assert late.chunk_ids == ()
    assert memory.versions == [("d", 2)]


async def test_a_deletion_stays_deleted(stage: IndexStage, memory: MemoryStore) -> None:
    await run(stage, embedded("d", 3))
    [gone] = await run(stage, embedded("d", 5, [], is_deleted=True))
    assert (gone.is_deleted, gone.superseded) == (True, False)
    [same, older, newer] = await run(stage, embedded("d", 5), embedded("d", 4), embedded("d", 6))
    assert (same.superseded, older.superseded, newer.superseded) == (True, True, False)
    assert memory.versions == [("d", 6)]
    [late] = await run(stage, embedded("d", 5, [], is_deleted=True))
    assert late.superseded
    assert memory.versions == [("d", 6)]


async def test_the_order_within_a_batch_counts(stage: IndexStage, memory: MemoryStore) -> None:
    await run(
        stage,
        embedded("a", 1),
        embedded("a", 2, [], is_deleted=True),
        embedded("b", 1),
        embedded("b", 2, [], is_deleted=True),
        embedded("b", 3),
        embedded("c", 1),
        embedded("c", 2),
        embedded("c", 3, ["0"], is_last=False),
    )
    assert memory.versions == [("b", 3), ("c", 2), ("c", 3)]
    await run(stage, embedded("c", 3, ["1"], batch=1))
    assert memory.versions == [("b", 3), ("c", 3), ("c", 3)]


@pytest.mark.parametrize("fail_at", range(12))
async def test_a_batch_that_is_tried_again_ends_the_same(fail_at: int) -> None:
    batches: list[list[ChunksEmbedded]] = [
        [embedded("a", 1), embedded("b", 1)],
        [embedded("a", 2), embedded("b", 2, [], is_deleted=True), embedded("c", 1)],
        [embedded("a", 1), embedded("b", 1), embedded("c", 2)],
    ]
    store = MemoryStore(fail_at)
    stage = IndexStage(store)
    for batch in batches:
        try:
            await run(stage, *batch)
        except TransientError:
            await run(stage, *batch)
    assert store.versions == [("a", 2), ("c", 2)]


async def test_what_no_row_can_hold_fails_alone(stage: IndexStage, memory: MemoryStore) -> None:
    long = made_item("long", source="x" * 2000)
    events = [embedded("a"), embedded("long", chunks=(long,)), embedded("other", generation="g2"), embedded("b")]
    outputs: list[Output] = [output async for output in stage.process(events)]
    assert {output.origin for output in outputs if isinstance(output.result, InvalidEvent)} == {1, 2}
    assert memory.versions == [("a", 1), ("b", 1)]


@pytest.mark.e2e
async def test_on_a_real_store(store: MilvusStore) -> None:
    stage = IndexStage(store)
    await stage.start()
    await run(stage, embedded("d", 1, ["0", "1"]), embedded("e", 1))
    await run(stage, embedded("d", 2, ["0"]), embedded("e", 3, [], is_deleted=True))
    assert await store.count_all() == 1
    again = IndexStage(store)  # another worker
    await again.start()
    [late_version, resurrection] = await run(again, embedded("d", 1), embedded("e", 2))
    assert (late_version.superseded, resurrection.superseded) == (True, True)
    assert await store.count_all() == 1
    await stage.stop()
    await again.stop()


def from_source(document: str, source: str, received_ms: int, version: int = 1, tenant: str = "t") -> ChunksEmbedded:
    item = made_item(document, source=source, version=version, tenant=tenant, text=f"{document} {source}")
    received = Trace(received_ms=received_ms)
    return embedded(document, version, chunks=(item,), trace=received, tenant=tenant)


def all_of(source: str, received_ms: int, tenant: str = "t") -> ChunksEmbedded:
    return embedded(
        source or "*",
        1,
        [],
        is_deleted=True,
        scope=Scope(source=source),
        trace=Trace(received_ms=received_ms),
        tenant=tenant,
    )


async def test_a_source_is_deleted_up_to_its_moment(stage: IndexStage, memory: MemoryStore) -> None:
    await run(stage, from_source("old", "cam", 10), from_source("other", "desk", 10), from_source("new", "cam", 30))
    [gone] = await run(stage, all_of("cam", 20))
    assert (gone.is_deleted, gone.superseded) == (True, False)
    assert memory.versions == [("new", 1), ("other", 1)]
    [late, later] = await run(stage, from_source("late", "cam", 20), from_source("later", "cam", 21))
    assert (late.superseded, later.superseded) == (True, False)
    assert memory.versions == [("later", 1), ("new", 1), ("other", 1)]


async def test_a_tenant_is_deleted_and_no_other(stage: IndexStage, memory: MemoryStore) -> None:
    await run(stage, from_source("a", "cam", 10), from_source("b", "desk", 10), from_source("c", "cam", 10, tenant="u"))
    await run(stage, all_of("", 20))
    assert memory.versions == [("c", 1)]
    [late] = await run(stage, from_source("a", "elsewhere", 15, version=9))
    assert late.superseded


async def test_an_earlier_deletion_that_comes_late_takes_nothing_back(stage: IndexStage, memory: MemoryStore) -> None:
    await run(stage, all_of("cam", 20))
    await run(stage, all_of("cam", 10))
    [late] = await run(stage, from_source("late", "cam", 15))
    assert late.superseded
    assert memory.known[scope_key("t", "cam")].version == 20


async def test_within_a_batch_the_moment_counts_and_not_the_place(stage: IndexStage, memory: MemoryStore) -> None:
    await run(stage, from_source("before", "cam", 10), all_of("cam", 20), from_source("after", "cam", 21))
    assert memory.versions == [("after", 1)]


async def test_a_deletion_by_another_worker_meanwhile_is_noticed(memory: MemoryStore) -> None:
    """It comes after the look at what is known and has found nothing to delete, for the rows are not there yet."""

    class Meanwhile(MemoryStore):
        async def write(self, rows: Sequence[Row]) -> None:
            self.known[scope_key("t", "cam")] = DocumentState(20, is_deleted=True)
            await super().write(rows)

    store = Meanwhile()
    await run(IndexStage(store), from_source("d", "cam", 10), from_source("e", "cam", 30))
    assert store.versions == [("e", 1)]


@pytest.mark.e2e
async def test_scopes_on_a_real_store(store: MilvusStore) -> None:
    stage = IndexStage(store)
    await stage.start()
    await run(stage, from_source("a", 'c"am', 10), from_source("b", "desk", 10), from_source("c", 'c"am', 30))
    await run(stage, all_of('c"am', 20))
    assert await store.count("t") == 2
    await run(stage, all_of("", 40, tenant="u"))
    assert await store.count("t") == 2
    await run(stage, all_of("", 40))
    assert await store.count("t") == 0
    await stage.stop()
