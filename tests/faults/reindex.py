"""A new index generation under load: built, switched to, rolled back and switched to again, while documents and
questions keep coming.

The verdict: every question has one whole answer, whichever generation gave it; each generation ends with the newest
version of every document and with nothing else; and the switch is a matter of moments.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from streams.client import AskOptions, Client
from streams.reindex import Reindexing, Switched
from streams.settings import Settings
from tests.faults import oracle
from tests.faults.cases import Size
from tests.faults.oracle import Verdict
from tests.faults.plant import COLLECTION, Plant, Slot, plant
from tests.faults.scenarios import Line, answered, publish, settled

OLD, NEW = "first", "second"
MOST_S = 1.0
"""A switch takes no longer."""
CHANGES = {"SENSORIUM_GENERATION": NEW, "SENSORIUM_LIMITS__PASSAGE_TOKENS": "60"}
STAGES = ("extract", "embed", "index", "retrieve")


@dataclass(frozen=True)
class Load:
    """What is published meanwhile, over how many seconds."""

    size: Size
    over_s: float


def under_load(load: Load) -> Callable[[str, Path], Awaitable[Line]]:
    """The line of the table."""

    async def check(name: str, folder: Path) -> Line:
        journal = load.size.journal()
        async with plant(folder, twice=()) as found:
            publishing = asyncio.create_task(publish(found, journal, over_s=load.over_s))
            await asyncio.sleep(0.2 * load.over_s)
            await found.add([Slot(f"{stage}-{NEW}", stage, CHANGES) for stage in STAGES])
            switches = await _switch_and_back(_settings(found))
            is_loaded = not publishing.done()
            await publishing
            began = time.monotonic()
            verdict = oracle.of_answers(journal, await answered(found, journal))
            for generation in (OLD, NEW):
                verdict += await _complete(found, generation, load)
            verdict += await _answers_from(found, NEW)
            slowest = max(switch.seconds for switch in switches)
            verdict += Verdict(wrong=tuple(_troubles(is_loaded, slowest)))
            note = f"{len(journal.questions)} questions, slowest switch {slowest:.2f} s"
            return Line(name, len(switches), verdict, time.monotonic() - began, note)

    return check


def _settings(found: Plant) -> Settings:
    return Settings(data_dir=found.folder, kafka=found.kafka, milvus=found.milvus, profile="fake")


async def _switch_and_back(settings: Settings) -> list[Switched]:
    reindexing = Reindexing(settings)
    switches = [await reindexing.switch(NEW, timeout_s=120.0)]
    await asyncio.sleep(1.0)
    switches.append(await reindexing.rollback())
    await asyncio.sleep(1.0)
    switches.append(await reindexing.switch(NEW))
    return switches


async def _complete(found: Plant, generation: str, load: Load) -> Verdict:
    """Each document that is to be found has rows, all of its newest version."""
    journal = load.size.journal()
    collection = COLLECTION.replace(OLD, generation)
    rows, _ = await settled(found, lambda rows: oracle.of_quiet_run(journal, rows).is_clean, collection)
    return oracle.of_quiet_run(journal, rows)


async def _answers_from(found: Plant, generation: str) -> Verdict:
    """Who asks for nothing special gets what ``generation`` finds, and not what the other does."""
    question = "What was seen in the old hall?"
    async with Client(_settings(found)) as client:
        plain = await client.search(question)
        hits = {name: await client.search(question, AskOptions(generation=name)) for name in (OLD, NEW)}
    ids = {name: [hit.chunk_id for hit in found] for name, found in hits.items()}
    if ids[OLD] == ids[NEW]:
        return Verdict(wrong=("the generations cannot be told apart",))
    is_new = [hit.chunk_id for hit in plain] == ids[generation]
    return Verdict() if is_new else Verdict(wrong=(f"the answers are not those of {generation}",))


def _troubles(is_loaded: bool, slowest: float) -> list[str]:
    troubles = [] if is_loaded else ["the load ended before the switches"]
    return troubles if slowest < MOST_S else [*troubles, f"a switch took {slowest:.2f} s"]
