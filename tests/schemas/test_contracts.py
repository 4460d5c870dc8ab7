"""Every event survives the wire, stays frozen, and keeps what a later version added to it."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from schemas.arrays import PackedArray
from schemas.base import Event, Trace
from schemas.chunks import Chunk, ChunksEmbedded, ChunksExtracted, EmbeddedChunk, Features, OcrLine
from schemas.letters import DeadLetter
from schemas.media import BlobRef, DocumentDeleted, Modality
from schemas.queries import Candidate, QueryAsked, QueryMedia, QueryRetrieved, QueryVectors
from streams.topics import EVENT_OF, TOPIC_OF, TOPICS

CHUNK = Chunk(
    chunk_id="c1",
    tenant="default",
    document_id="d1",
    version=7,
    ordinal=0,
    source="desk",
    source_uri="page.png",
    modality=Modality.IMAGE,
    channel="text",
    content_type="image/png",
    event_time_ms=1,
    text="histogram of grey values",
    box=(0.1, 0.2, 0.3, 0.4),
    features=Features(ocr=(OcrLine(text="histogram", box=(0, 0, 1, 1), score=0.9, end_char=9),)),
    media=BlobRef(uri="file:///x", sha256="00", size=3),
)
ARRAY = PackedArray(dtype="float32", shape=(1, 2), data=bytes(range(8)))
ASKED = QueryAsked(query_id="q1", question="what?", image=QueryMedia(data=b"\x00\xff\x89PNG"))
ITEM = EmbeddedChunk(chunk=CHUNK, vector=ARRAY, search_text="x")
EVENTS: list[Event] = [
    DocumentDeleted(document_id="d1", version=3, trace=Trace(traceparent="00-a-b-01").after("extract", 5)),
    ChunksExtracted(document_id="d1", version=7, event_time_ms=1, chunks=(CHUNK,)),
    ChunksEmbedded(document_id="d1", version=7, event_time_ms=1, chunks=(ITEM,), generation="g"),
    ASKED,
    QueryRetrieved(
        query_id="q1",
        asked=ASKED,
        vectors=QueryVectors(dense=ARRAY, parts=ARRAY, weights=ARRAY),
        candidates=(Candidate(item=ITEM, score=0.5, scores={"bm25": 1.0}),),
    ),
    DeadLetter(
        stage="extract",
        topic="media.received.v1",
        partition=0,
        offset=4,
        about="d1",
        error="InvalidMedia",
        reason="empty",
        failed_ms=1,
        original_value=b"\xff\x00not utf-8\xfe",
        original_headers=(("content-type", b"image/png"),),
    ),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_is_equal_after_the_wire(event: Event) -> None:
    assert type(event).model_validate_json(event.model_dump_json()) == event


def test_fields_of_a_later_version_are_kept_and_passed_on() -> None:
    later = ASKED.model_dump_json()[:-1] + ',"mood":"curious"}'
    assert '"mood":"curious"' in QueryAsked.model_validate_json(later).model_dump_json()


def test_events_are_frozen() -> None:
    with pytest.raises(ValidationError):
        ASKED.question = "another"  # type: ignore[misc]  # the very thing that must not work


def test_every_event_has_one_type_one_topic_and_a_key() -> None:
    assert len(EVENT_OF) == len(TOPIC_OF) == sum(len(topic.events) for topic in TOPICS)
    assert all(name.endswith(".v1") for name in EVENT_OF)
    assert len({topic.name for topic in TOPICS}) == len(TOPICS)
    assert [event.key for event in EVENTS[:2]] == ["default/d1", "default/d1"]
    assert ASKED.key == ASKED.subject == "q1"
