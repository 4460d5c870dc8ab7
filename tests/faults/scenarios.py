"""The scenarios: each runs a plant under one kind of fault and returns a line of the table.

The expectation comes from a quiet run of the same journal. Seconds to recover count from the last fault to the moment
at which the store holds what it should, and every question is answered.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults import oracle
from tests.faults.journal import Journal
from tests.faults.oracle import Row, Verdict
from tests.faults.plant import COLLECTION, Plant, plant

ANSWERS, ANSWER_PARTITIONS = "answers.streamed.v1", 4
DEAD_LETTERS = "dead-letters.v1"
SETTLE_S = 180.0
RESTART_S = 5.0
"""What a worker needs to be ready again, at most."""
POLL_S = 2.0


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    fault: str
    injected: int
    verdict: Verdict
    recovered_s: float
    note: str = ""


Faults = Callable[[Plant], Awaitable[None]]


async def quiet_run(journal: Journal, folder: Path) -> list[Row]:
    """The rows that the journal gives where nothing happens. Raises ``AssertionError`` where they contradict it."""
    async with plant(folder, twice=()) as found:
        await publish(found, journal)
        rows, seconds = await settled(found, lambda rows: oracle.of_quiet_run(journal, rows).is_clean)
        verdict = oracle.of_quiet_run(journal, rows)
        assert verdict.is_clean, f"the quiet run is wrong after {seconds:.0f} s: {verdict}"
        # The last rows of a document may still be on their way when its first are there.
        return await stable(found)


async def publish(found: Plant, journal: Journal, *, over_s: float = 0.0) -> None:
    """Publish everything, questions in between, spread over ``over_s`` seconds."""
    records = [action.record() for action in journal.actions]
    step = max(1, len(records) // max(1, len(journal.questions)))
    for number, question in enumerate(journal.questions):
        records.insert(min(len(records), (number + 1) * (step + 1)), question.record())
    started = time.monotonic()
    async with found.publishing() as publishing:
        for number, record in enumerate(records):
            await asyncio.sleep(max(0.0, started + over_s * number / len(records) - time.monotonic()))
            await publishing.send(record)


async def settled(
    found: Plant, is_right: Callable[[list[Row]], bool], collection: str = COLLECTION
) -> tuple[list[Row], float]:
    """The rows once they are right, or as they are when it takes too long; and how long it took, seconds."""
    started = time.monotonic()
    while True:
        rows = await asyncio.to_thread(oracle.rows, found.milvus, collection, found.folder)
        if is_right(rows) or time.monotonic() - started > SETTLE_S:
            return rows, time.monotonic() - started
        await asyncio.sleep(POLL_S)


async def stable(found: Plant) -> list[Row]:
    """The rows once three looks have seen the same."""
    seen: list[list[Row]] = []
    while len(seen) < 3 or not seen[-1] == seen[-2] == seen[-3]:
        await asyncio.sleep(POLL_S)
        rows = await asyncio.to_thread(oracle.rows, found.milvus, COLLECTION, found.folder)
        seen.append(sorted(rows, key=lambda row: row.chunk_id))
    return seen[-1]


async def run(
    fault: str, journal: Journal, quiet: list[Row], folder: Path, faults: Faults, *, over_s: float, env: dict[str, str]
) -> Line:
    """Publish the journal while ``faults`` happen; the verdict once all is settled."""
    async with plant(folder, env=env) as found:
        await asyncio.gather(publish(found, journal, over_s=over_s), faults(found))
        started = time.monotonic()
        await settled(found, lambda rows: oracle.of_index(journal, quiet, rows).is_clean)
        rows = await stable(found)
        answers = await answered(found, journal)
        letters = await oracle.records(found.kafka, DEAD_LETTERS, 1)
        verdict = oracle.of_index(journal, quiet, rows) + oracle.of_answers(journal, answers)
        verdict += Verdict(wrong=tuple(f"dead letter at {letter.offset}" for letter in letters))
        where = found.killed + Counter(name.partition("-")[0] for name in found.fired())
        note = " ".join(f"{name}:{count}" for name, count in sorted(where.items()))
        return Line(fault, where.total(), verdict, time.monotonic() - started, note)


async def answered(found: Plant, journal: Journal) -> list[object]:
    """The records of the answer stream, once every question has an end, or when it takes too long."""
    started = time.monotonic()
    while True:
        records = await oracle.records(found.kafka, ANSWERS, ANSWER_PARTITIONS)
        if not oracle.of_answers(journal, records).lost or time.monotonic() - started > SETTLE_S:
            return records
        await asyncio.sleep(POLL_S)


def kills(count: int, *, each: int, seed: int = 7) -> Faults:
    """``kill -9`` to workers: every stage ``each`` times, the rest at random; only those that had become ready."""

    async def inject(found: Plant) -> None:
        chance = random.Random(seed)
        stages = list({slot.stage for slot in found.slots})
        order = [stage for stage in sorted(stages) for _ in range(each)]
        order += chance.choices(sorted(stages), k=max(0, count - len(order)))
        chance.shuffle(order)
        for stage in order:
            await kill_one(found, stage, chance)

    return inject


async def kill_one(found: Plant, stage: str, chance: random.Random) -> None:
    """Kill a worker of a stage as soon as one has been ready for a moment."""
    deadline = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline:
        ready = [slot for slot in found.slots if slot.stage == stage and slot.pid in found.ready_pids()]
        if ready:
            await asyncio.sleep(chance.uniform(0.0, 1.0))
            found.kill(chance.choice(ready))
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"no worker of {stage} became ready within {SETTLE_S:.0f} s")


def armed(points: Sequence[str]) -> tuple[Faults, dict[str, str]]:
    """Fault points (``stage:point:nth``) at which workers end themselves with SIGKILL, and the settings that arm them.

    They are no fault of the event that is in work, so no event is given up because of them.
    """

    async def inject(found: Plant) -> None:
        deadline = time.monotonic() + SETTLE_S + RESTART_S * len(points)
        while len(found.fired()) < len(points):
            assert time.monotonic() < deadline, f"{len(points) - len(found.fired())} fault points were not reached"
            await asyncio.sleep(0.5)

    return inject, {"SENSORIUM_FAULTS": ",".join(points), "SENSORIUM_DEATHS": "50"}


def outages(part: str, times: int, *, away_s: float, between_s: float) -> Faults:
    """``kill -9`` to Kafka or to the store, which comes back after ``away_s``."""

    async def inject(found: Plant) -> None:
        for _ in range(times):
            await asyncio.sleep(between_s)
            await found.kill_part(part, away_s)

    return inject
