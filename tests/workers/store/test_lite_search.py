"""Search with remembered live rows finds exactly what milvus-lite finds by itself."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from milvus_lite.engine import collection as engine
from pymilvus import AnnSearchRequest, MilvusClient, RRFRanker

from workers.store import lite, lite_search
from workers.store.schema import CHUNK_INDEXES, DENSE, SPARSE, chunks_schema, shard

DIMENSION = 4
KEYS = [f"k{number}" for number in range(12)]
GROUPS = ("words", "picture", "sound")
WORDS = ("ferry", "harbour", "storm", "night")
numbers = itertools.count()
rng = np.random.default_rng(3)

keys = st.sampled_from(KEYS)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("upsert"), st.lists(keys, min_size=1, max_size=6, unique=True)),
        st.tuples(st.just("delete"), st.lists(keys, min_size=1, max_size=3, unique=True)),
        st.tuples(st.just("flush"), st.just([])),
    ),
    min_size=4,
    max_size=24,
)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusClient]:
    """A client of a server in this very process, so that its search can be exchanged."""
    server, database, port = lite.start(str(tmp_path_factory.mktemp("lite")))
    client = MilvusClient(f"http://127.0.0.1:{port}")
    yield client
    client.close()
    server.stop(0).wait()
    database.close()


def collection(client: MilvusClient) -> str:
    """An empty collection of chunks, searchable."""
    name = f"c{next(numbers)}"
    parameters = client.prepare_index_params()
    for field, options in CHUNK_INDEXES.items():
        parameters.add_index(field, **options)
    client.create_collection(name, schema=chunks_schema(DIMENSION), index_params=parameters)
    client.load_collection(name)
    return name


def row(key: str) -> dict[str, Any]:
    """A new version of a chunk; its group, and so its partition, belongs to its key."""
    vector = rng.normal(size=DIMENSION).astype(np.float32)
    return {
        "chunk_id": key,
        "shard": shard("t", GROUPS[KEYS.index(key) % len(GROUPS)]),
        "tenant": "t",
        "document_id": f"d{KEYS.index(key) % 4}",
        "source": "s",
        "modality": "text",
        "channel": "text",
        "payload": f"{key} {next(numbers)}",
        "version": int(rng.integers(5)),
        "event_time_ms": 0,
        "start_ms": -1,
        "end_ms": -1,
        "received_ms": 0,
        "text": " ".join(rng.choice(WORDS, size=3)),
        DENSE: (vector / np.linalg.norm(vector)).tolist(),
    }


def take(client: MilvusClient, name: str, step: tuple[str, list[str]]) -> None:
    kind, named = step
    if kind == "upsert":
        client.upsert(name, [row(key) for key in named])
    elif kind == "delete":
        client.delete(name, filter=f"chunk_id in {named}")
    else:
        client.flush(name)


def everything(client: MilvusClient, name: str, vector: list[float]) -> list[Any]:
    """Dense, BM25 and hybrid results, with and without filters."""
    dense: dict[str, Any] = {"anns_field": DENSE, "search_params": {"metric_type": "IP"}, "limit": 5}
    words: dict[str, Any] = {"anns_field": SPARSE, "search_params": {"metric_type": "BM25"}, "limit": 5}
    few = f'shard in ["{shard("t", "words")}"] and version < 4'
    found = [
        client.search(name, [vector, vector[::-1]], output_fields=["payload", "version"], **dense),
        client.search(name, [vector], filter=few, output_fields=["payload"], **dense),
        client.search(name, [vector], filter='document_id == "d1"', output_fields=["*"], **dense),
        client.search(name, ["ferry storm"], output_fields=["payload"], **words),
        client.search(name, ["night ferry"], filter=few, output_fields=["*"], **words),
        client.hybrid_search(
            name,
            [
                AnnSearchRequest([vector], DENSE, {"metric_type": "IP"}, 4, expr=few),
                AnnSearchRequest(["harbour"], SPARSE, {"metric_type": "BM25"}, 4),
            ],
            RRFRanker(60),
            limit=6,
            output_fields=["payload"],
        ),
    ]
    return [[[dict(hit) for hit in hits] for hits in result] for result in found]


def by_itself(client: MilvusClient, name: str, vector: list[float]) -> list[Any]:
    """What milvus-lite finds without our search."""
    lite_search.uninstall()
    try:
        return everything(client, name, vector)
    finally:
        assert lite_search.install()


@settings(max_examples=25, deadline=None)
@given(steps)
def test_it_finds_what_milvus_lite_finds(client: MilvusClient, taken: list[tuple[str, list[str]]]) -> None:
    name = collection(client)
    for number, step in enumerate(taken):
        take(client, name, step)
        if number % 3 == 2 or number == len(taken) - 1:
            vector = rng.normal(size=DIMENSION).tolist()
            assert everything(client, name, vector) == by_itself(client, name, vector)
    client.drop_collection(name)


def test_it_follows_a_compaction(client: MilvusClient) -> None:
    name = collection(client)
    segments: list[int] = []
    for _ in range(12):
        take(client, name, ("upsert", KEYS))
        take(client, name, ("delete", KEYS[:1]))
        take(client, name, ("flush", []))
        vector = rng.normal(size=DIMENSION).tolist()
        assert everything(client, name, vector) == by_itself(client, name, vector)
        segments.append(len(engine_of(client, name)._read_snapshot()[0]))
    assert any(later < earlier for earlier, later in itertools.pairwise(segments)), "nothing was compacted"


def engine_of(client: MilvusClient, name: str) -> engine.Collection:
    """The collection behind the server."""
    return next(found for found in list(lite_search._live) if found.name == name)


def test_another_milvus_lite_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lite_search, "_EXPECTED", {lite_search.install: "what is not there"})
    before = engine.execute_search_with_index
    assert not lite_search.install()
    assert engine.execute_search_with_index is before
