"""The verdict: what is in the store and in the topics, held against what was published. Knows nothing of the pipeline.

In: the journal, and the addresses of Milvus and Kafka. Out: a ``Verdict``, with the numbers of the table. The expected
rows are those of a quiet run of the same journal, and that run is itself held against the journal.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from pymilvus import MilvusClient

from tests.faults.journal import Journal

QUIET_MS = 1500
MOST_ROWS = 16_000
TERMINAL = frozenset(f"sensorium.answer.{name}.v1" for name in ("finished", "failed", "hits-ranked"))


@dataclass(frozen=True)
class Row:
    """One chunk as the store has it."""

    chunk_id: str
    document_id: str
    version: int
    content: str


@dataclass(frozen=True)
class Verdict:
    """What is not as it should be, each with the ids that it is about."""

    lost: tuple[str, ...] = ()
    doubled: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()

    @property
    def is_clean(self) -> bool:
        """Nothing is lost, doubled, stale or wrong."""
        return not (self.lost or self.doubled or self.stale or self.wrong)

    def __add__(self, other: Verdict) -> Verdict:
        return Verdict(
            self.lost + other.lost, self.doubled + other.doubled, self.stale + other.stale, self.wrong + other.wrong
        )


def rows(milvus: str, collection: str, folder: Path) -> list[Row]:
    """Every row of a collection. Claim checks name ``folder``, which is another one in each run."""
    client = MilvusClient(milvus)
    try:
        client.load_collection(collection)  # after a restart of the store nothing is
        found: list[dict[str, Any]] = client.query(
            collection, filter="version >= 0", output_fields=["document_id", "version", "payload"], limit=MOST_ROWS
        )
    finally:
        client.close()
    assert len(found) < MOST_ROWS, "more rows than one query gives"
    return [
        Row(row["chunk_id"], row["document_id"], row["version"], _digest(row["payload"].replace(str(folder), "")))
        for row in found
    ]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def of_index(journal: Journal, quiet: Iterable[Row], found: Sequence[Row]) -> Verdict:
    """The rows that are found against those of a quiet run and against the journal."""
    expected = {row.chunk_id: row for row in quiet}
    versions = journal.versions
    counted = Counter(row.chunk_id for row in found)
    live = {row.chunk_id: row for row in found}
    stale = {row.chunk_id for row in found if versions.get(row.document_id) != row.version}
    return Verdict(
        lost=tuple(sorted(expected.keys() - live.keys())),
        doubled=tuple(sorted(name for name, count in counted.items() if count > 1)),
        stale=tuple(sorted(stale)),
        wrong=tuple(sorted(name for name, row in live.items() if name not in stale and row != expected.get(name))),
    )


def of_quiet_run(journal: Journal, quiet: Sequence[Row]) -> Verdict:
    """A quiet run against the journal alone: every document that is to be found has rows, all of its newest version."""
    versions = journal.versions
    found: dict[str, set[int]] = defaultdict(set)
    for row in quiet:
        found[row.document_id].add(row.version)
    return Verdict(
        lost=tuple(sorted(name for name in versions if name not in found)),
        stale=tuple(sorted(name for name, seen in found.items() if seen != {versions.get(name, -1)})),
    )


@dataclass
class _Attempt:
    kinds: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))

    @property
    def ends(self) -> list[int]:
        return [seq for seq, kinds in sorted(self.kinds.items()) for kind in kinds if kind in TERMINAL]

    @property
    def is_whole(self) -> bool:
        """From 0 without gaps to one end, after which nothing comes."""
        ends = self.ends
        return len(ends) == 1 and sorted(self.kinds) == list(range(ends[0] + 1))


def of_answers(journal: Journal, records: Iterable[Any]) -> Verdict:
    """Each question has one answer that is whole, in its highest attempt; two ends in one attempt are doubled."""
    attempts: dict[str, dict[int, _Attempt]] = defaultdict(lambda: defaultdict(_Attempt))
    for record in records:
        event = json.loads(record.value)
        kind = dict(record.headers)["ce_type"].decode()
        attempts[event["query_id"]][event["attempt"]].kinds[event["seq"]].append(kind)
    lost, doubled, wrong = [], [], []
    for question in journal.questions:
        of_query = attempts.pop(question.query_id, {})
        whole = [number for number, attempt in of_query.items() if attempt.is_whole]
        if not any(attempt.ends for attempt in of_query.values()):
            lost.append(question.query_id)
        elif len(whole) > 1:
            doubled.append(question.query_id)
        elif whole != [max(of_query)]:
            wrong.append(question.query_id)
    return Verdict(lost=tuple(lost), doubled=tuple(doubled), wrong=(*wrong, *attempts))


async def records(bootstrap: str, topic: str, partitions: int) -> list[Any]:
    """All records of a topic, in the order of each partition."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        parts = [TopicPartition(topic, number) for number in range(partitions)]
        consumer.assign(parts)
        await consumer.seek_to_beginning(*parts)
        found: list[Any] = []
        while batch := await consumer.getmany(timeout_ms=QUIET_MS):
            found += [record for some in batch.values() for record in some]
        return found
    finally:
        await consumer.stop()
