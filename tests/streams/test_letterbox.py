"""Dead letters on each kind of broker: what was refused goes back, byte for byte and once, to where it came from."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from streams.deadletters import dead_letter
from streams.letterbox import LetterFilter, read_letters, replay_letters
from streams.publisher import Publisher
from streams.record import Record
from streams.tail import to_record
from streams.topics import CHUNKS_EXTRACTED, MEDIA_RECEIVED
from tests.conftest import BROKERS
from workers.errors import InvalidEvent, InvalidMedia

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]

NOW_MS = 1_700_000_000_000
PARTITION = 2


@pytest.fixture(params=BROKERS)
def broker_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_replay_goes_to_the_same_place_with_the_same_bytes_and_only_once(
    bootstrap: str, publisher: Publisher
) -> None:
    records = await refused(bootstrap)
    for number, record in enumerate(records):
        error = InvalidMedia("bad") if number % 2 else InvalidEvent("bad")
        letter = dead_letter(record, error, stage="extract", now_ms=NOW_MS + number, event=None)
        await publisher.publish(letter)
        await publisher.publish(letter)  # a crash between the letter and the commit
    await (await publisher.send_record(Record("dead-letters.v1", b"not one of ours")))
    letters = await read_letters(bootstrap)
    assert [letter.offset for letter in letters] == [record.offset for record in records]
    chosen = await read_letters(bootstrap, LetterFilter(error="InvalidEvent"))
    assert await replay_letters(bootstrap, chosen) == []
    assert [x.error for x in await read_letters(bootstrap, replayed=False)] == ["InvalidMedia", "InvalidMedia"]
    assert len(await read_letters(bootstrap)) == 4

    found = await everything(bootstrap, len(records) + len(chosen))
    replayed = [record for record in found if record.offset >= len(records)]
    assert [(x.key, x.value, x.headers, x.timestamp_ms) for x in replayed] == [
        (x.key, x.value, x.headers, x.timestamp_ms) for x in records[::2]
    ]


async def test_letter_without_its_bytes_is_left_out_and_said_so(bootstrap: str) -> None:
    letter = dead_letter(
        Record(CHUNKS_EXTRACTED.name, b"x", b"acme/d", (), 0, 0, NOW_MS),
        InvalidEvent("bad"),
        stage="embed",
        now_ms=NOW_MS,
        event=None,
    ).model_copy(update={"is_whole": False, "original_value": None})
    assert await replay_letters(bootstrap, [letter]) == [letter]


async def refused(bootstrap: str) -> list[Record]:
    """Four records of the strangest kind, in a partition that their keys would not choose, as a stage receives them."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    strange: list[tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]] = [
        (b"acme/a", b"\xff\x00", [("ce_id", b"1"), ("ce_id", b"2"), ("empty", b"")]),
        (b"", b"", []),
        (None, b"no key", [("ce_type", b"\xfe")]),
        (b"acme/d", None, [("tombstone", b"1")]),
    ]
    for key, value, headers in strange:
        await producer.send_and_wait(
            MEDIA_RECEIVED.name, value, key, partition=PARTITION, headers=headers, timestamp_ms=NOW_MS - 9000
        )
    await producer.stop()
    return await everything(bootstrap, len(strange))


async def everything(bootstrap: str, count: int) -> list[Record]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", fetch_max_wait_ms=50)
    await consumer.start()
    consumer.assign([TopicPartition(MEDIA_RECEIVED.name, PARTITION)])
    try:
        async with asyncio.timeout(20):
            return [to_record(await consumer.getone()) for _ in range(count)]
    finally:
        await consumer.stop()
