"""Topics and consumer groups: made at start-up, counted for ``status``.

Works on Apache Kafka and on the embedded broker, which takes any setting of a topic and keeps none, and which makes a
topic that it is merely asked about. Raises ``TransientError`` where the broker is away or refuses.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import stamina
import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    InvalidConfigurationError,
    InvalidReplicationFactorError,
    KafkaError,
    TopicAlreadyExistsError,
    for_code,
)

from schemas.generations import FIRST
from streams.security import client_options, unreachable
from streams.stages import STAGES, group_id
from streams.topics import PER_GENERATION, TOPICS, Topic, of_generation
from workers.errors import TransientError

log = structlog.get_logger()

MOST_REPLICAS = 3
COORDINATOR_PATIENCE_S = 10.0


async def ensure_topics(bootstrap: str, topics: Iterable[Topic] = TOPICS) -> None:
    """Create the topics that are missing; what is there is left as it is, and told where it has fewer partitions.

    A topic gets as many replicas as there are brokers, at most three. A broker that refuses its settings gets it
    without them, which is told too.
    """
    wanted = {topic.name: topic for topic in topics}
    async with _admin(bootstrap) as admin:
        replicas = min(MOST_REPLICAS, len((await admin.describe_cluster())["brokers"]))
        refused = await _create(admin, [_new(topic, replicas) for topic in wanted.values()])
        if refused:
            log.warning("topics.settings_refused", topics=sorted(refused), hint="set their retention on the broker")
            still = await _create(admin, [NewTopic(name, wanted[name].partitions, replicas) for name in refused])
            if still:
                raise TransientError(f"the broker does not create {', '.join(still)}", hint="see its log")
        for name, partitions in (await _partitions(admin, list(wanted))).items():
            if len(partitions) < wanted[name].partitions:
                log.warning("topic.fewer_partitions", topic=name, have=len(partitions), want=wanted[name].partitions)


def _new(topic: Topic, replicas: int) -> NewTopic:
    config = {
        "retention.ms": str(topic.retention_ms),
        "max.message.bytes": str(topic.max_message_bytes),
        **topic.config,
    }
    return NewTopic(topic.name, topic.partitions, replicas, topic_configs=config)


async def _create(admin: AIOKafkaAdminClient, topics: list[NewTopic]) -> list[str]:
    """Create topics; those whose settings are refused. Topics that exist are no error."""
    refused = []
    response = await admin.create_topics(topics)
    for name, code, *message in response.topic_errors:
        if code == InvalidConfigurationError.errno:
            refused.append(name)
        elif code not in (0, TopicAlreadyExistsError.errno):
            hint = "start more brokers" if code == InvalidReplicationFactorError.errno else "see the broker's log"
            raise TransientError(f"the topic {name} is not created: {message or for_code(code).__name__}", hint=hint)
    return refused


async def topic_sizes(bootstrap: str) -> dict[str, int]:
    """Records written to each of our topics so far, in the order of the data flow."""
    async with _admin(bootstrap) as admin:
        partitions = await _partitions(admin, [topic.name for topic in TOPICS])
    offsets = await _offsets(bootstrap, partitions.values())
    return {name: sum(offsets[part][1] for part in parts) for name, parts in partitions.items()}


async def stage_lag(bootstrap: str, generation: str = FIRST) -> dict[str, int]:
    """Records that each stage has not yet committed, in the order of the data flow."""
    lag: dict[str, int] = {}
    topics = {stage.name: of_generation(stage.topic, generation).name for stage in STAGES.values()}
    async with _admin(bootstrap) as admin:
        partitions = await _partitions(admin, list(topics.values()))
        offsets = await _offsets(bootstrap, partitions.values())
        for stage in STAGES.values():
            parts = partitions.get(topics[stage.name], [])
            committed = await _committed(admin, group_id(stage.name, generation), parts) if parts else {}
            # The embedded broker may tell ends that are behind what has been committed: no lag, not less than none.
            lag[stage.name] = sum(max(0, offsets[part][1] - max(offsets[part][0], committed[part])) for part in parts)
    return lag


async def partitions_of(bootstrap: str, topic: Topic) -> list[int]:
    """The partitions that a topic has on the broker."""
    async with _admin(bootstrap) as admin:
        found = await _partitions(admin, [topic.name])
    return sorted(part.partition for part in found.get(topic.name, []))


async def forget_generation(bootstrap: str, generation: str) -> None:
    """Delete the topics that only this generation uses. The first has none of its own."""
    names = [of_generation(topic, generation).name for topic in PER_GENERATION]
    if generation != FIRST:
        async with _admin(bootstrap) as admin:
            await admin.delete_topics(names)


async def _committed(admin: AIOKafkaAdminClient, group: str, parts: list[TopicPartition]) -> dict[TopicPartition, int]:
    """What a group has committed; -1 where it has committed nothing yet."""
    async for attempt in stamina.retry_context(on=_is_retriable, timeout=COORDINATOR_PATIENCE_S, wait_initial=0.1):
        with attempt:  # a new Kafka finds coordinators only after a second
            # All partitions are named: the embedded broker's answer about "all" cannot be read.
            found = await admin.list_consumer_group_offsets(group, partitions=parts)
    return {part: found[part].offset for part in parts}


def _is_retriable(error: Exception) -> bool:
    return isinstance(error, KafkaError) and bool(error.retriable)


async def _partitions(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, list[TopicPartition]]:
    """The partitions of topics, as far as they exist."""
    described = {topic["topic"]: topic["partitions"] for topic in await admin.describe_topics(names)}
    return {
        name: [TopicPartition(name, part["partition"]) for part in described[name]]
        for name in names
        if described.get(name)
    }


async def _offsets(bootstrap: str, partitions: Iterable[list[TopicPartition]]) -> dict[TopicPartition, tuple[int, int]]:
    """The first offset that is still there and the one of the next record."""
    wanted = [part for parts in partitions for part in parts]
    consumer = AIOKafkaConsumer(**client_options(bootstrap), enable_auto_commit=False)
    async with _translated(bootstrap):
        try:
            await consumer.start()
            begins, ends = await asyncio.gather(consumer.beginning_offsets(wanted), consumer.end_offsets(wanted))
        finally:
            await consumer.stop()
    return {part: (begins[part], ends[part]) for part in wanted}


@asynccontextmanager
async def _admin(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**client_options(bootstrap))
    async with _translated(bootstrap):
        try:
            await admin.start()
            yield admin
        finally:
            await admin.close()


@asynccontextmanager
async def _translated(bootstrap: str) -> AsyncIterator[None]:
    try:
        yield
    except KafkaError as error:
        raise await unreachable(bootstrap, error) from error
