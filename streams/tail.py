"""Reads topics for a client: no consumer group, nothing is committed.

``open_consumer`` stands at the start of topics, or where a moment of time is; ``read_to_end`` gives what they hold;
``Tail`` stands at their end and hands what passes to one listener. Raises ``TransientError`` where Kafka is away.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner

from schemas.base import Event
from streams.record import Record
from streams.security import client_options, unreachable
from streams.topics import Topic
from streams.wire import decode
from workers.errors import InvalidEvent, SensoriumError, TransientError

log = structlog.get_logger()

FETCH_MAX_WAIT_MS = 50  # see streams/app.py: the embedded broker looks for new records a few times within it

READ_WAIT_MS, LAST_WAIT_MS = 1000, 150


def to_record(message: ConsumerRecord[bytes, bytes]) -> Record:
    """Aiokafka's record as ours."""
    return Record(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        key=message.key,
        value=message.value,
        headers=tuple(message.headers),
        timestamp_ms=message.timestamp,
    )


async def open_consumer(
    bootstrap: str, topics: Sequence[Topic], *, key: str | None = None, since_ms: int | None = None
) -> AIOKafkaConsumer:
    """A consumer at the start of ``topics``; with ``key``, of the partitions that records of this key go to.

    With ``since_ms`` it stands at the first record since then, where the broker can tell. Stop it when done.
    """
    consumer = AIOKafkaConsumer(
        **client_options(bootstrap),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=FETCH_MAX_WAIT_MS,
        max_partition_fetch_bytes=max(topic.max_message_bytes for topic in topics),
    )
    try:
        await consumer.start()
        consumer.assign([part for topic in topics for part in _partitions(consumer, topic, key)])
        if since_ms is not None:
            await _seek(consumer, since_ms)
    except KafkaError as error:
        await consumer.stop()
        raise await unreachable(bootstrap, error) from error
    except BaseException:
        await consumer.stop()
        raise
    return consumer


def _partitions(consumer: AIOKafkaConsumer, topic: Topic, key: str | None) -> list[TopicPartition]:
    numbers = sorted(consumer.partitions_for_topic(topic.name) or range(topic.partitions))
    if key is not None:
        numbers = [DefaultPartitioner()(key.encode(), numbers, numbers)]
    return [TopicPartition(topic.name, number) for number in numbers]


async def _seek(consumer: AIOKafkaConsumer, moment_ms: int) -> None:
    for partition, found in (await consumer.offsets_for_times(dict.fromkeys(consumer.assignment(), moment_ms))).items():
        if found is not None:  # else nothing is so new, or the broker cannot tell: the start stays
            consumer.seek(partition, found.offset)


def _away(bootstrap: str) -> TransientError:
    return TransientError(f"no Kafka answers at {bootstrap}", hint="is `sensorium up` running? or set SENSORIUM_KAFKA")


async def read_to_end(consumer: AIOKafkaConsumer) -> AsyncGenerator[Record, None]:
    """What lies between where ``consumer`` stands and the present ends of its partitions.

    The embedded broker tells the ends too low, by up to one batch: so it goes on until nothing more comes.
    """
    ends = await consumer.end_offsets(list(consumer.assignment()))
    while True:
        left = [part for part, end in ends.items() if await consumer.position(part) < end]
        found = await consumer.getmany(timeout_ms=READ_WAIT_MS if left else LAST_WAIT_MS)
        for messages in found.values():
            for message in messages:
                yield to_record(message)
        if not found and not left:
            return


class Listener(Protocol):
    """Who hears what passes at the end of some topics."""

    def wants(self, record: Record) -> bool:
        """Whether ``record`` is worth decoding; asked for every record."""

    def take(self, event: Event) -> None:
        """An event that was wanted."""

    def fail(self, error: SensoriumError) -> None:
        """Nothing more will be heard."""


class Tail:
    """One consumer at the end of some topics. A record that cannot be read is skipped: stages say what is wrong."""

    def __init__(self, bootstrap: str, topics: Sequence[Topic], listener: Listener) -> None:
        self._bootstrap = bootstrap
        self._topics = tuple(topics)
        self._listener = listener
        self._starting = asyncio.Lock()
        self._consumer: AIOKafkaConsumer | None = None
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Stand at the end of every partition: what is published from now on is heard. Starts once."""
        async with self._starting:
            if self._reading is not None and not self._reading.done():
                return
            await self.stop()
            self._consumer = await open_consumer(self._bootstrap, self._topics)
            ends = await self._consumer.end_offsets(list(self._consumer.assignment()))
            for partition, offset in ends.items():
                self._consumer.seek(partition, offset)
            self._reading = asyncio.create_task(self._read(self._consumer))

    async def stop(self) -> None:
        """Disconnect."""
        if self._reading:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
            self._reading = None
        if self._consumer:
            await self._consumer.stop()
            self._consumer = None

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        try:
            async for message in consumer:
                self._hand_on(to_record(message))
        except KafkaError as error:
            log.warning("tail.lost", topics=[topic.name for topic in self._topics], reason=str(error))
            self._listener.fail(_away(self._bootstrap))

    def _hand_on(self, record: Record) -> None:
        if not self._listener.wants(record):
            return
        try:
            event = decode(record)
        except InvalidEvent as error:
            log.debug("tail.unreadable", topic=record.topic, offset=record.offset, reason=error.reason)
        else:
            self._listener.take(event)
