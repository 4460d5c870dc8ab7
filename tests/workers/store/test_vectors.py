"""The vector store on a real milvus-lite server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymilvus import CollectionSchema, MilvusClient

from schemas.chunks import Channel
from schemas.media import Modality
from schemas.queries import Filters
from tests.workers.made import DIMENSION, direction, made_item
from tests.workers.store.conftest import free_port, serve
from workers.errors import StoreMismatch, TransientError
from workers.models.base import Floats
from workers.store.request import SearchRequest
from workers.store.schema import chunks_schema
from workers.store.vectors import MilvusStore
from workers.store.versions import DocumentState

pytestmark = pytest.mark.e2e

NOTHING: Floats = np.zeros((0, DIMENSION), np.float32)


def request(text: str = "", dense: Floats = NOTHING, **changes: Any) -> SearchRequest:
    fields: dict[str, Any] = {"tenant": "t", "text": text, "dense": dense, "limit": 5} | changes
    return SearchRequest(**fields)


async def documents(store: MilvusStore, asked: SearchRequest) -> list[str]:
    return [candidate.item.chunk.document_id for candidate in await store.search(asked)]


async def test_rows_are_found_by_meaning_and_by_words_at_once(store: MilvusStore) -> None:
    items = [made_item(f"d{i}", text=f"about topic{i}") for i in range(20)]
    await store.upsert(items)
    by_meaning = await store.search(request(dense=direction("about topic7")[None]))
    assert by_meaning[0].item == items[7]
    assert by_meaning[0].scores["dense"] == pytest.approx(1.0, abs=1e-4)
    assert await documents(store, request(text="which topic11s?")) == ["d11"]
    both = await store.search(request(text="topic3", dense=direction("about topic3")[None]))
    assert both[0].item == items[3]
    assert both[0].score > both[1].score


async def test_every_group_of_channels_has_its_best(store: MilvusStore) -> None:
    channels = [Channel.TEXT] * 30 + [Channel.PICTURE, Channel.SOUND]
    await store.upsert([made_item(f"d{i}", channel=channel, text=f"x{i}") for i, channel in enumerate(channels)])
    assert {"d30", "d31"} <= set(await documents(store, request(dense=direction("x3")[None])))


async def test_filters_reach_every_part_of_a_query(store: MilvusStore) -> None:
    for tenant in ("t", 'o"ther'):
        await store.upsert(
            [
                made_item("a", tenant=tenant, source="cam 1", event_time_ms=10, text="same words"),
                made_item("b", tenant=tenant, source='cam "2"', event_time_ms=20, text="same words"),
                made_item(
                    "c", tenant=tenant, source="cam 1", event_time_ms=30, text="same words", modality=Modality.VIDEO
                ),
            ]
        )
    dense = direction("same words")[None]
    for filters, expected in (
        (Filters(), ["a", "b", "c"]),
        (Filters(sources=('cam "2"',)), ["b"]),
        (Filters(modalities=(Modality.VIDEO,)), ["c"]),
        (Filters(document_ids=("a", "c")), ["a", "c"]),
        (Filters(since_ms=20), ["b", "c"]),
        (Filters(until_ms=20), ["a"]),
        (Filters(since_ms=10, until_ms=30, sources=("cam 1",)), ["a"]),
    ):
        for tenant in ("t", 'o"ther'):
            found = await store.search(request(text="words", dense=dense, tenant=tenant, filters=filters))
            assert sorted(each.item.chunk.document_id for each in found) == expected
            assert {each.item.chunk.tenant for each in found} == {tenant}
    assert await documents(store, request(text="words", dense=dense, tenant="nobody")) == []
    assert await store.count("t") == 3
    assert await store.count_all() == 6


async def test_an_upsert_replaces_and_the_last_of_a_batch_counts(store: MilvusStore) -> None:
    first, second = made_item("d", text="old words"), made_item("d", text="new words")
    await store.upsert([first])
    await store.upsert([first, second])
    assert await store.count_all() == 1
    assert (await store.get("t", [first.chunk.chunk_id])) == [second]
    assert await store.get("other", [first.chunk.chunk_id]) == []
    assert await store.get("t", ['" or 1 == 1 or chunk_id == "']) == []
    assert await documents(store, request(text="old")) == []


async def test_older_versions_are_deleted(store: MilvusStore) -> None:
    await store.upsert([made_item("d", version=version, place=str(place)) for version in (1, 2, 3) for place in (0, 1)])
    await store.upsert([made_item("other", version=1)])
    await store.delete_versions("t", "d", 3)
    assert await store.count_all() == 3
    assert {each.item.chunk.version for each in await store.search(request(text="words d"))} == {3, 1}


async def test_versions_are_remembered_by_all_and_after_a_restart(tmp_path: Path) -> None:
    with serve(tmp_path) as uri:
        one = MilvusStore(uri, collection="c", dimension=DIMENSION)
        await one.start()
        await one.remember({"a": DocumentState(7, is_deleted=True), "b": DocumentState(2, has_older=True)})
        await one.remember({"b": DocumentState(3)})
        await one.upsert([made_item("d")])
        two = MilvusStore(uri, collection="c", dimension=DIMENSION)
        await two.start()
        expected = {"a": DocumentState(7, is_deleted=True), "b": DocumentState(3)}
        assert await two.states(["a", "b", "unknown", "a"]) == expected
        assert await two.count_all() == 1
        await one.stop()
        await two.stop()
    with serve(tmp_path) as uri:
        again = MilvusStore(uri, collection="c", dimension=DIMENSION)
        await again.start()
        assert await again.states(["a", "b"]) == expected
        assert await documents(again, request(text="words", dense=direction("x")[None])) == ["d"]
        await again.stop()


async def test_a_server_that_is_away_is_transient_and_the_store_goes_on_afterwards(tmp_path: Path) -> None:
    port = free_port()
    with serve(tmp_path, port) as uri:
        store = MilvusStore(uri, collection="c", dimension=DIMENSION, timeout_s=2)
        await store.start()
        await store.upsert([made_item("d")])
    with pytest.raises(TransientError, match="Milvus at"):
        await store.count_all()
    with pytest.raises(TransientError):
        await MilvusStore(uri, collection="c", dimension=DIMENSION, timeout_s=1).start()
    with serve(tmp_path, port):
        assert await eventually(store.count_all) == 1
        await store.upsert([made_item("e")])
        assert sorted(await documents(store, request(text="words"))) == ["d", "e"]
        await store.stop()


async def test_a_collection_of_an_earlier_version_is_told(milvus_uri: str) -> None:
    fewer = [field for field in chunks_schema(DIMENSION).fields if field.name not in ("received_ms", "sparse")]
    client = MilvusClient(milvus_uri)
    client.create_collection("early_first", schema=CollectionSchema(fewer))
    client.close()
    with pytest.raises(StoreMismatch, match="lacks received_ms, sparse"):
        await MilvusStore(milvus_uri, collection="early", dimension=DIMENSION).start()


async def eventually(call: Any) -> Any:
    """As the shell does: the same again after a ``TransientError``."""
    for _ in range(20):
        try:
            return await call()
        except TransientError:
            await asyncio.sleep(0.2)
    return await call()


async def test_stages_of_one_process_share_a_store(milvus_uri: str) -> None:
    store = MilvusStore(milvus_uri, collection="shared", dimension=DIMENSION)
    await asyncio.gather(store.start(), store.start())
    await store.stop()
    assert await store.count_all() == 0
    await store.stop()
    with pytest.raises(RuntimeError, match="before start"):
        await store.count_all()


async def test_workers_may_start_at_the_same_time(milvus_uri: str) -> None:
    stores = [MilvusStore(milvus_uri, collection="together", dimension=DIMENSION) for _ in range(4)]
    await asyncio.gather(*(store.start() for store in stores))
    await stores[0].upsert([made_item("d")])
    assert [await store.count_all() for store in stores] == [1] * 4
    await asyncio.gather(*(store.stop() for store in stores))


async def test_generations_do_not_mix(milvus_uri: str) -> None:
    old = MilvusStore(milvus_uri, collection="gen", dimension=DIMENSION)
    new = MilvusStore(milvus_uri, collection="gen", dimension=16, generation="second")
    await old.start()
    await new.start()
    await old.upsert([made_item("d")])
    assert (await old.count_all(), await new.count_all()) == (1, 0)
    assert (old.collection, new.collection) == ("gen_first", "gen_second")
    assert await new.in_use() == "first"
    await old.stop()
    await new.stop()


async def test_a_collection_takes_only_what_its_models_make(milvus_uri: str) -> None:
    for fingerprint in ("minilm-c1", "", "minilm-c1"):  # who says nothing only looks on
        store = MilvusStore(milvus_uri, collection="kind", dimension=DIMENSION, fingerprint=fingerprint)
        await store.start()
        await store.stop()
    with pytest.raises(StoreMismatch, match=r"filled by .minilm-c1., but this worker is .siglip-c1.") as caught:
        await MilvusStore(milvus_uri, collection="kind", dimension=DIMENSION, fingerprint="siglip-c1").start()
    assert "reindex" in caught.value.hint


async def test_no_row_is_lost_or_out_of_sight_while_others_are_written_and_flushed(milvus_uri: str) -> None:
    writers = [MilvusStore(milvus_uri, collection="busy", dimension=DIMENSION, flush_rows=15) for _ in range(3)]
    await asyncio.gather(*(store.start() for store in writers))
    acknowledged: list[str] = []
    missing: list[str] = []

    async def write(number: int) -> None:
        for batch in range(12):
            names = [f"w{number}b{batch}i{i}" for i in range(5)]
            await writers[number].upsert([made_item(name, text=f"about {name}") for name in names])
            acknowledged.extend(names)

    async def look(done: asyncio.Event) -> None:
        while not done.is_set():
            names = acknowledged[-3:]
            found = [await documents(writers[0], request(text=name, limit=3)) for name in names]
            missing.extend(name for name, hits in zip(names, found, strict=True) if hits != [name])
            await asyncio.sleep(0)

    done = asyncio.Event()
    looking = asyncio.create_task(look(done))
    await asyncio.gather(*(write(number) for number in range(3)))
    done.set()
    await looking
    assert missing == []
    assert await writers[0].count_all() == 180
    await asyncio.gather(*(store.stop() for store in writers))
