"""Bad input, kind by kind: each ends as a dead letter with its reason and bytes, and the next document is found."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from schemas.answers import AnswerFailed
from schemas.letters import DeadLetter
from streams import runtime
from streams.client import AskOptions, Client, QueryFailed, UsageError
from streams.letterbox import read_letters
from streams.publisher import Publisher
from streams.record import Record
from streams.settings import Settings
from streams.topics import MEDIA_RECEIVED, QUERIES_ASKED
from tests.bad_inputs import BadInput, bad_claims, bad_media
from workers.store.blobs import BlobStore

pytestmark = [pytest.mark.e2e, pytest.mark.models, pytest.mark.timeout(600)]

JSON = ("content-type", b"application/json")


def event_headers(kind: str, **more: str) -> tuple[tuple[str, bytes], ...]:
    names = {"specversion": "1.0", "id": "1", "source": "test", "type": kind, **more}
    return (JSON, *((f"ce_{name}", value.encode()) for name, value in names.items()))


WRONG_EVENTS = {
    "an unknown type": Record("media.received.v1", b"x", b"w1", event_headers("com.example.unknown")),
    "another version of CloudEvents": Record(
        "media.received.v1", b"x", b"w2", event_headers("sensorium.media.received.v1", specversion="9.9")
    ),
    "a header that is not UTF-8": Record("media.received.v1", b"x", b"w3", (("ce_type", b"\xff\xfe"),)),
    "a version that is no number": Record(
        "media.received.v1",
        b"hello",
        b"w4",
        event_headers("sensorium.media.received.v1", subject="w4", documentversion="latest"),
    ),
    "an event of another topic": Record(
        "media.received.v1", b'{"query_id": "q"}', b"w5", event_headers("sensorium.query.asked.v1", subject="q")
    ),
    "a claim check without a hash": Record(
        "media.received.v1",
        b"",
        b"w6",
        event_headers("sensorium.media.received.v1", subject="w6", dataref="file:///etc/passwd", datasize="1"),
    ),
    "no key and no bytes": Record("media.received.v1", b"", None),
}


async def test_each_bad_document_is_a_dead_letter_and_the_next_good_one_is_found(
    running_system: Settings, tmp_path: Path
) -> None:
    addresses = runtime.resolve(running_system)
    outside = tmp_path / "outside.txt"
    outside.write_text("a file outside of the roots")
    kinds = [*bad_media(), *bad_claims(BlobStore(addresses.blobs), outside)]
    refused = [kind for kind in kinds if kind.error is not None]
    assert len(refused) >= 30
    async with Client(running_system) as client:
        for number, kind in enumerate(kinds):
            await assert_outcome(client, addresses.kafka, number, kind)
            await assert_good_document_is_found(client, number)


async def assert_outcome(client: Client, bootstrap: str, number: int, kind: BadInput) -> None:
    name = f"bad-{number}"
    if kind.data is not None:
        published = await client.publish(kind.data, document_id=name, content_type=kind.content_type)
    else:
        assert kind.blob is not None
        published = await client.publish_claim(kind.blob, document_id=name, content_type=kind.content_type)
    failures = await client.searchable([published], timeout_s=60)
    if kind.error is None:
        assert not failures, kind.name
        return
    assert [failure.published.document_id for failure in failures] == [name], kind.name
    letter = (await letters_about(bootstrap, name))[-1]
    assert letter.error == kind.error.__name__, (kind.name, letter.reason)
    assert letter.reason
    if kind.data is not None and published.is_inline:
        assert letter.original_value == kind.data, kind.name


async def assert_good_document_is_found(client: Client, number: int) -> None:
    text = f"The lighthouse keeper number {number} writes about kite {number} in the log."
    published = await client.publish(text.encode(), document_id=f"good-{number}", content_type="text/plain")
    assert not await client.searchable([published], timeout_s=60)
    hits = await client.search(f"kite {number}", AskOptions(document_ids=(f"good-{number}",)))
    assert hits[0].text == text


async def letters_about(bootstrap: str, about: str) -> list[DeadLetter]:
    return [letter for letter in await read_letters(bootstrap) if letter.about == about]


async def test_events_of_the_wrong_shape_are_dead_letters_byte_for_byte(running_system: Settings) -> None:
    bootstrap = runtime.resolve(running_system).kafka
    before = len(await read_letters(bootstrap))
    publisher = Publisher(bootstrap)
    await publisher.start()
    try:
        for record in WRONG_EVENTS.values():
            await (await publisher.send_record(record))
    finally:
        await publisher.stop()
    async with asyncio.timeout(30):
        while len(letters := (await read_letters(bootstrap))[before:]) < len(WRONG_EVENTS):
            await asyncio.sleep(0.2)
    assert {letter.error for letter in letters} == {"InvalidEvent"}
    assert {letter.topic for letter in letters} == {MEDIA_RECEIVED.name}
    sent = sorted((record.value, record.headers) for record in WRONG_EVENTS.values())
    assert sorted((letter.original_value, letter.original_headers) for letter in letters) == sent
    async with Client(running_system) as client:
        await assert_good_document_is_found(client, 1000)


async def test_bad_questions_get_an_answer_that_says_what_to_do(running_system: Settings) -> None:
    async with Client(running_system) as client:
        with pytest.raises(UsageError, match="no parts"):
            await client.search("   ")
        with pytest.raises(QueryFailed) as failure:
            await client.search("what is this?", AskOptions(image=b"this is no image"))
        assert failure.value.hint
        events = [event async for event in client.ask("", AskOptions(audio=b"\x00" * 100))]
        assert isinstance(events[-1], AnswerFailed)
        assert events[-1].stage == "retrieve"
        assert events[-1].reason


async def test_a_question_without_parts_on_the_topic_fails_for_whoever_follows_it(running_system: Settings) -> None:
    bootstrap = runtime.resolve(running_system).kafka
    body = json.dumps({"query_id": "empty-question", "question": ""}).encode()
    headers = event_headers("sensorium.query.asked.v1", subject="empty-question")
    publisher = Publisher(bootstrap)
    await publisher.start()
    try:
        await (await publisher.send_record(Record(QUERIES_ASKED.name, body, b"empty-question", headers)))
    finally:
        await publisher.stop()
    async with Client(running_system) as client:
        events = [event async for event in client.follow("empty-question", timeout_s=30)]
    assert isinstance(events[-1], AnswerFailed)
    assert events[-1].hint
    assert (await letters_about(bootstrap, "empty-question"))[-1].original_value == body
