"""The retrieve stage: what it asks of the store, and what it hands on."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from schemas.answers import HitsRanked
from schemas.base import Event
from schemas.chunks import Channel, Features, Label, Region
from schemas.media import Modality
from schemas.queries import Candidate, Filters, QueryAsked, QueryMedia, QueryRetrieved, QueryStage
from tests.workers.made import extracted, made_chunk, made_item
from tests.workers.store.conftest import milvus_uri
from workers.arrays import unpack
from workers.embed import EmbedStage
from workers.errors import InvalidEvent, TransientError
from workers.extract.query import QueryFeatures
from workers.index import IndexStage
from workers.limits import Limits
from workers.models.base import Embedding, Parts
from workers.models.profiles import Models
from workers.retrieve import RetrieveStage, _within, query_vectors, search_vectors
from workers.store.blobs import BlobStore
from workers.store.parts import PartsStore
from workers.store.request import SearchRequest
from workers.store.vectors import MilvusStore

__all__ = ["milvus_uri"]  # a fixture

FILTERS = Filters(sources=("cam",))


class FoundStore:
    """Finds the same whatever is asked, and keeps what was asked."""

    def __init__(self, count: int = 3) -> None:
        self.found = [Candidate(item=made_item(f"d{i}"), score=1 / (i + 1)) for i in range(count)]
        self.requests: list[SearchRequest] = []
        self.away = False

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def search(self, request: SearchRequest) -> list[Candidate]:
        if self.away:
            raise TransientError("away")
        self.requests.append(request)
        return self.found


@pytest.fixture
async def models() -> AsyncIterator[Models]:
    models = Models("fake", threads=1)
    yield models
    models.close()


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(str(tmp_path))


@pytest.fixture
def store() -> FoundStore:
    return FoundStore()


@pytest.fixture
async def stage(store: FoundStore, blobs: BlobStore, models: Models) -> RetrieveStage:
    stage = RetrieveStage(store, blobs, models, Limits(), 40, clock=lambda: 5)
    await stage.start()
    return stage


async def run(stage: RetrieveStage, *events: Event) -> list[Event | InvalidEvent]:
    outputs = [output async for output in stage.process(events)]
    assert [output.origin for output in outputs] == list(range(len(events)))
    return [output.result for output in outputs]


def red() -> QueryMedia:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, "PNG")
    return QueryMedia(content_type="image/png", data=buffer.getvalue())


async def test_a_question_becomes_candidates(stage: RetrieveStage, store: FoundStore) -> None:
    asked = QueryAsked(query_id="q", tenant="t", question="red cats?", filters=FILTERS, limit=5)
    [event] = await run(stage, asked)
    assert isinstance(event, QueryRetrieved)
    assert (event.asked, event.query_id, event.tenant) == (asked, "q", "t")
    assert list(event.candidates) == store.found
    [request] = store.requests
    assert (request.tenant, request.text.strip(), request.filters, request.limit) == ("t", "red cats?", FILTERS, 40)
    assert np.array_equal(request.dense, unpack(event.vectors.dense))
    assert unpack(event.vectors.parts).shape[1] == 32
    assert unpack(event.vectors.weights).sum() == pytest.approx(1)
    assert event.vectors.text == "red cats?"


async def test_who_wants_more_gets_more(stage: RetrieveStage, store: FoundStore) -> None:
    await run(stage, QueryAsked(query_id="q", question="x", limit=150))
    assert store.requests[0].limit == 150


async def test_a_query_that_ends_here_gives_hits(stage: RetrieveStage) -> None:
    [event] = await run(stage, QueryAsked(query_id="q", question="x", limit=2, until_stage=QueryStage.RETRIEVE))
    assert isinstance(event, HitsRanked)
    assert (event.seq, event.attempt, event.at_ms, event.stage) == (0, 1, 5, QueryStage.RETRIEVE)
    assert [hit.document_id for hit in event.hits] == ["d0", "d1"]


async def test_a_picture_is_searched_by_its_vector_and_its_labels(stage: RetrieveStage, store: FoundStore) -> None:
    [event] = await run(stage, QueryAsked(query_id="q", question="where is it", image=red()))
    assert isinstance(event, QueryRetrieved)
    assert "red" in event.vectors.labels
    [request] = store.requests
    assert request.dense.shape == (2, 32)
    assert request.text.startswith("where is it")
    assert "red" in request.text.split()


async def test_a_bad_question_fails_alone(stage: RetrieveStage) -> None:
    results = await run(
        stage,
        QueryAsked(query_id="a", question="x"),
        QueryAsked(query_id="b", question="  "),
        QueryAsked(query_id="c", image=QueryMedia(content_type="image/png", data=b"no picture")),
    )
    assert isinstance(results[0], QueryRetrieved)
    assert isinstance(results[1], InvalidEvent)
    assert isinstance(results[2], InvalidEvent)


async def test_a_store_that_is_away_is_transient(stage: RetrieveStage, store: FoundStore) -> None:
    store.away = True
    with pytest.raises(TransientError):
        await run(stage, QueryAsked(query_id="q", question="x"))


def made(number: int, parts: int) -> Embedding:
    vector = np.zeros(8, np.float32)
    vector[number % 8] = 1
    places = np.zeros((parts, 4), np.int32)
    return Embedding(vector, Parts(np.tile(vector, (parts, 1)), places, np.ones(parts, np.float32)))


def test_words_and_pictures_weigh_the_same_whatever_their_number() -> None:
    vectors = query_vectors(QueryFeatures(text="x"), [[made(0, 30)], [made(1, 2), made(2, 3)], []], 8)
    weights = unpack(vectors.weights)
    assert weights[:30].sum() == pytest.approx(1)
    assert weights[30:].sum() == pytest.approx(1)
    assert unpack(vectors.dense).shape == (3, 8)


def test_of_many_pictures_some_are_searched_with() -> None:
    kinds = [[made(0, 1)], [made(number, 1) for number in range(8)], []]
    assert np.argmax(search_vectors(kinds, 8), axis=1).tolist() == [0, 0, 4, 7]
    assert search_vectors([[], [], []], 8).shape == (0, 8)


def test_the_candidates_of_a_query_fit_into_a_message() -> None:
    found: Sequence[Candidate] = FoundStore(10).found
    size = len(found[0].item.model_dump_json())
    assert list(_within(found, size * 3)) == list(found[:3])
    assert list(_within(found, 10**9)) == list(found)


@pytest.mark.e2e
async def test_what_is_embedded_and_indexed_is_retrieved(milvus_uri: str, blobs: BlobStore, models: Models) -> None:
    store = MilvusStore(milvus_uri, collection="retrieved", dimension=models.dimension, fingerprint=models.generation)
    stages = EmbedStage(blobs, PartsStore(blobs), models), IndexStage(store)
    retrieve = RetrieveStage(store, blobs, models, Limits(), 40)
    for stage in (*stages, retrieve):
        await stage.start()
    shows = Features(
        labels=(Label(name="red", score=0.9),),
        regions=(Region(box=(0, 0, 1, 1), labels=(Label(name="red", score=0.9),)),),
    )
    events: list[Event] = [
        extracted("text", [made_chunk("text", text="the harbour master counts boats")]),
        extracted(
            "wall", [made_chunk("wall", text="", channel=Channel.PICTURE, modality=Modality.IMAGE, features=shows)]
        ),
    ]
    for stage in stages:
        outputs = [output.result async for output in stage.process(events)]
        events = [result for result in outputs if not isinstance(result, InvalidEvent)]
    words, picture = await run(
        retrieve,
        QueryAsked(query_id="a", tenant="t", question="who counts the boats in the harbour?"),
        QueryAsked(query_id="b", tenant="t", image=red()),
    )
    assert isinstance(words, QueryRetrieved)
    assert isinstance(picture, QueryRetrieved)
    assert words.candidates[0].item.chunk.document_id == "text"
    assert picture.candidates[0].item.chunk.document_id == "wall"
    assert picture.candidates[0].scores["dense"] > 0.5
    for stage in (*stages, retrieve):
        await stage.stop()
