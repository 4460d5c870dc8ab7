"""Lines of the table that are not about a crash: poison, reindexing, broken documents, hostile names."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from streams.milvus_server import start_milvus
from tests.faults import mutations, tenants
from tests.faults.cases import Size
from tests.faults.oracle import Verdict
from tests.faults.poison import Rounds, under_poison
from tests.faults.reindex import Load, under_load
from tests.faults.scenarios import Line
from tests.workers.made import DIMENSION
from workers.limits import Limits


@dataclass(frozen=True)
class Apart:
    """One line of the table."""

    name: str
    check: Callable[[str, Path], Awaitable[Line]]

    async def run(self, folder: Path) -> Line:
        """The line; ``folder`` is its own."""
        return await self.check(self.name, folder)


def broken_documents(per_format: int) -> Callable[[str, Path], Awaitable[Line]]:
    """``per_format`` mutants of each format, and the attacks made by hand."""

    async def check(name: str, _: Path) -> Line:
        limits = Limits()
        tried = await mutations.run(per_format, limits)
        note = (
            f"{tried.indexed} indexed, {tried.refused} refused, {tried.killed} of them by ending their decoder; "
            f"at most {tried.peak_mib:.0f} MiB"
        )
        return Line(name, tried.tried, tried.verdict(limits), tried.slowest_s, note)

    return check


def isolation(examples: int) -> Callable[[str, Path], Awaitable[Line]]:
    """``examples`` pairs of tenants with names of every kind."""

    async def check(name: str, folder: Path) -> Line:
        child, uri = await start_milvus(folder)
        began = time.monotonic()
        verdict = Verdict()
        tried = examples
        try:
            tried = await asyncio.to_thread(tenants.run, uri, examples, DIMENSION)
        except AssertionError as crossing:
            verdict = Verdict(wrong=(str(crossing),))
        finally:
            await child.stop()
        return Line(name, tried, verdict, 0.0, f"{time.monotonic() - began:.0f} s")

    return check


LONG_LOAD = Load(Size(600, 180, 60, 400), 150.0)
SHORT_LOAD = Load(Size(60, 18, 6, 60), 40.0)

APART = (
    Apart("one event in ten poisonous", under_poison(Rounds(5, 150, is_timed=True))),
    Apart("a reindex under load, switched three times", under_load(LONG_LOAD)),
    Apart("broken and hostile documents", broken_documents(200)),
    Apart("hostile names of tenants and filters", isolation(2000)),
)
SHORT_APART = (
    Apart("one event in ten poisonous", under_poison(Rounds(1, 36, is_timed=False))),
    Apart("a reindex under load, switched three times", under_load(SHORT_LOAD)),
    Apart("broken and hostile documents", broken_documents(9)),
    Apart("hostile names of tenants and filters", isolation(150)),
)
