"""What the tests on a real broker share."""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.base import Event
from schemas.chunks import ChunksExtracted
from streams.publisher import Publisher
from streams.record import Record
from streams.stages import STAGES, group_id
from streams.topics import Topic
from streams.wire import decode


async def publish(publisher: Publisher, *documents: str) -> None:
    events = [ChunksExtracted(tenant="acme", document_id=name, version=1, event_time_ms=0) for name in documents]
    for delivery in [await publisher.send(event) for event in events]:
        await delivery


async def read(bootstrap: str, topic: Topic, count: int, within_s: float = 20) -> list[Event]:
    """The first ``count`` events of a topic."""
    consumer = AIOKafkaConsumer(
        topic.name, bootstrap_servers=bootstrap, auto_offset_reset="earliest", fetch_max_wait_ms=50
    )
    await consumer.start()
    try:
        async with asyncio.timeout(within_s):
            records = [await consumer.getone() for _ in range(count)]
    finally:
        await consumer.stop()
    return [decode(Record(topic.name, item.value, item.key, tuple(item.headers))) for item in records]


async def until_read(bootstrap: str, topic: Topic, documents: set[str]) -> None:
    """Read a topic until all of ``documents`` were there; some may be there twice. Raises ``TimeoutError``."""
    count = len(documents)
    async with asyncio.timeout(30):
        while documents - {event.subject for event in await read(bootstrap, topic, count)}:
            count += 1


async def committed(bootstrap: str, stage: str) -> int:
    """The records that the stage has committed."""
    topic = STAGES[stage].topic
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group_id(stage), enable_auto_commit=False)
    await consumer.start()
    try:
        parts = [TopicPartition(topic.name, number) for number in range(topic.partitions)]
        return sum([await consumer.committed(part) or 0 for part in parts])
    finally:
        await consumer.stop()
