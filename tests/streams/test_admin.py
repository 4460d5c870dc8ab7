"""Topics and lag, on both brokers."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from streams.admin import ensure_topics, stage_lag, topic_sizes
from streams.child import free_ports
from streams.stages import STAGES, group_id
from streams.topics import CHUNKS_EMBEDDED, MEDIA_RECEIVED, TOPICS, Topic
from tests.conftest import needs_kafka
from workers.errors import TransientError

pytestmark = pytest.mark.e2e
_numbers = itertools.count()


async def _partitions(bootstrap: str, name: str) -> int:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        (described,) = await admin.describe_topics([name])
        return len(described["partitions"])
    finally:
        await admin.close()


async def test_every_topic_is_made_with_its_partitions_and_making_them_again_changes_nothing(broker: str) -> None:
    await ensure_topics(broker)
    for topic in TOPICS:
        assert await _partitions(broker, topic.name) == topic.partitions
    assert list(await topic_sizes(broker)) == [topic.name for topic in TOPICS]


async def test_fewer_partitions_are_told_and_left(broker: str) -> None:
    topic = Topic(f"few-{next(_numbers)}", (), partitions=2)
    await ensure_topics(broker, [topic])
    with structlog.testing.capture_logs() as logs:
        await ensure_topics(broker, [replace(topic, partitions=6)])
    told = {"event": "topic.fewer_partitions", "log_level": "warning", "topic": topic.name, "have": 2, "want": 6}
    assert told in logs
    assert await _partitions(broker, topic.name) == 2


@pytest.mark.kafka
@needs_kafka[1]
@pytest.mark.parametrize("broker", ["kafka"], indirect=True)
async def test_kafka_keeps_the_settings_of_a_topic(broker: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    try:
        resource = ConfigResource(ConfigResourceType.TOPIC, MEDIA_RECEIVED.name)
        (response,) = await admin.describe_configs([resource])
    finally:
        await admin.close()
    ((*_, entries),) = response.resources
    config = {entry[0]: entry[1] for entry in entries}
    assert config["retention.ms"] == "-1"
    assert config["max.message.bytes"] == str(MEDIA_RECEIVED.max_message_bytes)


@pytest.mark.kafka
@needs_kafka[1]
@pytest.mark.parametrize("broker", ["kafka"], indirect=True)
async def test_a_topic_whose_settings_are_refused_is_made_without_them_and_that_is_told(broker: str) -> None:
    topic = Topic(f"refused-{next(_numbers)}", (), partitions=3, config={"no.such.setting": "1"})
    with structlog.testing.capture_logs() as logs:
        await ensure_topics(broker, [topic])
    assert [entry["topics"] for entry in logs if entry["event"] == "topics.settings_refused"] == [[topic.name]]
    assert await _partitions(broker, topic.name) == 3


async def test_lag_is_what_a_stage_has_not_committed(broker: str) -> None:
    before = await stage_lag(broker)
    assert list(before) == list(STAGES)
    sizes = await topic_sizes(broker)
    async with AIOKafkaProducer(bootstrap_servers=broker, acks="all") as producer:
        for number in range(5):
            await producer.send_and_wait(CHUNKS_EMBEDDED.name, b"chunk", partition=number % 2)
    assert (await topic_sizes(broker))[CHUNKS_EMBEDDED.name] == sizes[CHUNKS_EMBEDDED.name] + 5
    assert (await stage_lag(broker))["index"] == before["index"] + 5
    consumer = AIOKafkaConsumer(bootstrap_servers=broker, group_id=group_id("index"), enable_auto_commit=False)
    first = TopicPartition(CHUNKS_EMBEDDED.name, 0)
    consumer.assign([first])
    await consumer.start()
    try:
        await consumer.commit({first: 3})
    finally:
        await consumer.stop()
    assert (await stage_lag(broker))["index"] == before["index"] + 2


async def test_a_broker_that_is_away_is_told_with_what_to_do() -> None:
    bootstrap = f"127.0.0.1:{free_ports(1)[0]}"
    for ask in (ensure_topics, topic_sizes, stage_lag):
        with pytest.raises(TransientError, match=bootstrap) as away:
            await ask(bootstrap)
        assert "sensorium up" in away.value.hint
