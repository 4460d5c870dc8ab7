"""The contract of all topics: checked in as it is made, valid AsyncAPI 3, and what is written agrees with it."""

from __future__ import annotations

import copy
import gzip
import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it ships no types
import pytest

from schemas.answers import AnswerFinished, TokenGenerated
from schemas.base import Event
from schemas.media import MediaReceived
from schemas.queries import QueryAsked
from streams import contract
from streams.topics import TOPICS
from streams.wire import encode
from tests.contract_check import check
from tests.readme_map import ROOT

DOCUMENT = contract.document()
OFFICIAL = Path(__file__).parent / "data" / "asyncapi-3.0.0.json.gz"
"""The specification's own schema, from the package ``@asyncapi/specs`` (Apache-2.0)."""

ANSWER: dict[str, Any] = {"query_id": "q", "seq": 1, "at_ms": 5}
EVENTS = (
    QueryAsked(query_id="q", question="Where is the ferry?"),
    TokenGenerated(**ANSWER, text="It"),
    AnswerFinished(**ANSWER, answer="It left.", citations=(), abstained=False, generator="extractive"),
)


def specification() -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(json.loads(gzip.decompress(OFFICIAL.read_bytes())))


def test_the_file_is_what_the_code_says() -> None:
    text = (ROOT / "docs" / "asyncapi.json").read_text(encoding="utf-8")
    assert text == contract.text(), "type `make contract`"


def test_it_is_valid_asyncapi() -> None:
    assert [error.message for error in specification().iter_errors(DOCUMENT)] == []


def test_the_specification_would_refuse_a_wrong_one() -> None:
    wrong = copy.deepcopy(DOCUMENT)
    wrong["operations"]["media.received.v1"]["action"] = "swallow"
    assert list(specification().iter_errors(wrong))


def test_every_topic_and_every_event_is_in_it() -> None:
    assert set(DOCUMENT["channels"]) == {topic.name for topic in TOPICS}
    for topic in TOPICS:
        messages = DOCUMENT["channels"][topic.name]["messages"]
        assert set(messages) == {event.__name__ for event in topic.events}
        assert all(DOCUMENT["components"]["messages"][name]["summary"] for name in messages)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_what_is_written_agrees(event: Event) -> None:
    record = encode(event)
    assert check(record.topic, record.headers, record.value) == type(event).__name__


def test_media_agrees() -> None:
    record = encode(MediaReceived(document_id="d", version=1, event_time_ms=5, data=b"\x89PNG", source="desk"))
    assert check(record.topic, record.headers, record.value) == "MediaReceived"


@pytest.mark.parametrize(("field", "value"), [("query_id", None), ("limit", "many")])
def test_a_body_that_is_wrong_does_not(field: str, value: object) -> None:
    record = encode(EVENTS[0])
    body = {**json.loads(record.value or b""), field: value}
    with pytest.raises(jsonschema.ValidationError):
        check(record.topic, record.headers, json.dumps(body).encode())


def test_a_header_that_is_wrong_does_not() -> None:
    record = encode(MediaReceived(document_id="d", version=1, event_time_ms=5, data=b"x"))
    headers = tuple((name, b"two" if name == "ce_documentversion" else value) for name, value in record.headers)
    with pytest.raises(jsonschema.ValidationError, match="two"):
        check(record.topic, headers, record.value)
