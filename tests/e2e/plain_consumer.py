"""A consumer as somebody else would write it: aiokafka and ``docs/asyncapi.json``, nothing of Sensorium.

In: the address of Kafka. Out: all records of the contract's topics, and the answers that can be rebuilt of them.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from tests.contract_check import check, contract

QUIET_MS = 3000


@dataclass(frozen=True)
class Rebuilt:
    """An answer as the events of its highest attempt tell it."""

    answer: str
    citations: list[dict[str, Any]]


async def records(bootstrap: str, topics: list[str]) -> list[ConsumerRecord]:
    """Everything in ``topics``, from the start until nothing comes any more."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        sizes = {topic: contract()["channels"][topic]["bindings"]["kafka"]["partitions"] for topic in topics}
        parts = [TopicPartition(topic, number) for topic, size in sizes.items() for number in range(size)]
        consumer.assign(parts)
        await consumer.seek_to_beginning(*parts)
        found: list[ConsumerRecord] = []
        while batch := await consumer.getmany(timeout_ms=QUIET_MS):
            found += [record for some in batch.values() for record in some]
        return found
    finally:
        await consumer.stop()


async def check_all(bootstrap: str) -> dict[str, int]:
    """Hold every record of every topic against the contract; how many there were of each message."""
    counts: dict[str, int] = defaultdict(int)
    for record in await records(bootstrap, list(contract()["channels"])):
        counts[check(record.topic, record.headers, record.value)] += 1
    return dict(counts)


async def rebuilt(bootstrap: str) -> dict[str, Rebuilt]:
    """Every finished answer, by query id, put together from its tokens."""
    attempts: dict[str, dict[int, dict[int, tuple[str, dict[str, Any]]]]] = defaultdict(lambda: defaultdict(dict))
    for record in await records(bootstrap, ["answers.streamed.v1"]):
        event, kind = json.loads(record.value), dict(record.headers)["ce_type"].decode()
        attempts[event["query_id"]][event["attempt"]][event["seq"]] = (kind, event)
    answers: dict[str, Rebuilt] = {}
    for query_id, of_query in attempts.items():
        events = [event for _, event in sorted(of_query[max(of_query)].items())]
        last_kind, last = events[-1]
        if last_kind == "sensorium.answer.finished.v1":
            text = "".join(event["text"] for kind, event in events if kind == "sensorium.answer.token-generated.v1")
            answers[query_id] = Rebuilt(text, last["citations"])
    return answers
