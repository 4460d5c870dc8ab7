"""Reads topics from their end, for a client: no consumer group, one consumer for many listeners.

In: topics. Out: decoded events, to every listener that is interested. A record that cannot be read is skipped: the
stages say what is wrong with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from schemas.base import Event
from streams.record import Record
from streams.topics import Topic
from streams.wire import decode
from workers.errors import InvalidEvent, TransientError

log = structlog.get_logger()

FETCH_MAX_WAIT_MS = 50  # see streams/app.py: the embedded broker looks for new records a few times within it
Listener = asyncio.Queue[Event]


def to_record(message: ConsumerRecord[bytes, bytes]) -> Record:
    """Aiokafka's record as ours."""
    return Record(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        key=message.key,
        value=message.value,
        headers=tuple((name, value or b"") for name, value in message.headers),
        timestamp_ms=message.timestamp,
    )


async def open_consumer(bootstrap: str, topics: Sequence[Topic]) -> AIOKafkaConsumer:
    """A consumer of all partitions of ``topics``, from their start. Raises ``TransientError`` where Kafka is away."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=FETCH_MAX_WAIT_MS,
        max_partition_fetch_bytes=max(topic.max_message_bytes for topic in topics),
    )
    try:
        await consumer.start()
        names = {topic.name: topic for topic in topics}
        partitions = []
        for name, topic in names.items():
            known = consumer.partitions_for_topic(name) or range(topic.partitions)
            partitions += [TopicPartition(name, number) for number in sorted(known)]
        consumer.assign(partitions)
    except KafkaError as error:
        await consumer.stop()
        raise TransientError(
            f"no Kafka answers at {bootstrap}", hint="is `sensorium up` running? or set SENSORIUM_KAFKA"
        ) from error
    return consumer


class Tail:
    """One consumer at the end of some topics; listeners hear what passes from the moment that they come."""

    def __init__(self, bootstrap: str, topics: Sequence[Topic]) -> None:
        self._bootstrap = bootstrap
        self._topics = tuple(topics)
        self._listeners: dict[Listener, Callable[[Event], bool]] = {}
        self._consumer: AIOKafkaConsumer | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect, and stand at the end of every partition."""
        self._consumer = await open_consumer(self._bootstrap, self._topics)
        ends = await self._consumer.end_offsets(list(self._consumer.assignment()))
        for partition, offset in ends.items():
            self._consumer.seek(partition, offset)
        self._task = asyncio.create_task(self._read(self._consumer))

    async def stop(self) -> None:
        """Disconnect."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._consumer:
            await self._consumer.stop()

    @asynccontextmanager
    async def listen(self, wants: Callable[[Event], bool]) -> AsyncIterator[Listener]:
        """A queue of the events that ``wants`` picks, from now on."""
        listener: Listener = asyncio.Queue()
        self._listeners[listener] = wants
        try:
            yield listener
        finally:
            del self._listeners[listener]

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        async for message in consumer:
            if not self._listeners:
                continue
            try:
                event = decode(to_record(message))
            except InvalidEvent as error:
                log.debug("tail.unreadable", topic=message.topic, offset=message.offset, reason=error.reason)
                continue
            for listener, wants in list(self._listeners.items()):
                if wants(event):
                    listener.put_nowait(event)
