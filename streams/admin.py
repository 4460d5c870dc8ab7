"""Topics and consumer groups: made at start-up, counted for ``status``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaConnectionError, KafkaError, TopicAlreadyExistsError, for_code

from streams.stages import STAGES, group_id
from streams.topics import TOPICS, Topic
from workers.errors import TransientError

log = structlog.get_logger()

_EXISTS = TopicAlreadyExistsError.errno


async def ensure_topics(bootstrap: str, topics: Iterable[Topic] = TOPICS, *, replication: int = 1) -> None:
    """Create the topics that are missing; what is there is left as it is, and told where it has fewer partitions.

    Raises ``TransientError`` where the broker is away or refuses.
    """
    wanted = {topic.name: topic for topic in topics}
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        response = await admin.create_topics([_new(topic, replication) for topic in wanted.values()])
        for name, code, *_ in response.topic_errors:
            if code not in (0, _EXISTS):
                raise TransientError(f"the topic {name} could not be created: {for_code(code).__name__}")
        for described in await admin.describe_topics(list(wanted)):
            have, want = len(described["partitions"]), wanted[described["topic"]].partitions
            if have < want:
                log.warning("topic.fewer_partitions", topic=described["topic"], have=have, want=want)
    except KafkaConnectionError as error:
        raise TransientError(f"no Kafka answers at {bootstrap}", hint="is the broker running?") from error
    finally:
        await admin.close()


def _new(topic: Topic, replication: int) -> NewTopic:
    config = {
        "retention.ms": str(topic.retention_ms),
        "max.message.bytes": str(topic.max_message_bytes),
        **topic.config,
    }
    return NewTopic(topic.name, topic.partitions, replication, topic_configs=config)


async def topic_sizes(bootstrap: str) -> dict[str, int]:
    """Records written to each of our topics so far. Raises ``TransientError`` where the broker is away."""
    partitions = await _partitions(bootstrap)
    async with _consumer(bootstrap) as consumer:
        return {name: sum((await consumer.end_offsets(parts)).values()) for name, parts in partitions.items()}


async def stage_lag(bootstrap: str) -> dict[str, int]:
    """Records that each stage has not yet committed. Raises ``TransientError`` where the broker is away."""
    partitions = await _partitions(bootstrap)
    lag: dict[str, int] = {}
    for stage in STAGES.values():
        async with _consumer(bootstrap, group=group_id(stage.name)) as consumer:
            ends = await consumer.end_offsets(partitions.get(stage.topic.name, []))
            lag[stage.name] = sum([end - (await consumer.committed(part) or 0) for part, end in ends.items()])
    return lag


async def _partitions(bootstrap: str) -> dict[str, list[TopicPartition]]:
    """The partitions of our topics, as far as they exist."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        described = await admin.describe_topics([topic.name for topic in TOPICS])
    except KafkaError as error:
        raise TransientError(f"no Kafka answers at {bootstrap}", hint="is the broker running?") from error
    finally:
        await admin.close()
    return {
        topic["topic"]: [TopicPartition(topic["topic"], part["partition"]) for part in topic["partitions"]]
        for topic in described
    }


@asynccontextmanager
async def _consumer(bootstrap: str, group: str | None = None) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer that only asks for offsets."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
    try:
        await consumer.start()
        yield consumer
    except KafkaError as error:
        raise TransientError(f"Kafka does not answer: {error!r}") from error
    finally:
        await consumer.stop()
