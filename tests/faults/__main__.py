"""``python -m tests.faults [--short] [--only WORD]``: runs the cases, prints one table; 1 if any is not clean."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.faults.apart import APART, SHORT_APART, Apart
from tests.faults.cases import CASES, SHORT_CASES, Case, Size
from tests.faults.oracle import Row
from tests.faults.scenarios import Line, quiet_run

console = Console(width=120 if not sys.stdout.isatty() else None)


def table(lines: list[Line]) -> Table:
    """All lines."""
    made = Table(
        "fault", "times injected", "lost", "doubled", "stale", "wrong", "seconds to recover", "where", box=None
    )
    for line in lines:
        verdict = line.verdict
        counts = [len(found) for found in (verdict.lost, verdict.doubled, verdict.stale, verdict.wrong)]
        made.add_row(line.fault, str(line.injected), *map(str, counts), f"{line.recovered_s:.0f}", line.note)
    return made


async def run(cases: list[Case], folder: Path) -> list[Line]:
    """Each case, one after the other; the quiet runs first."""
    quiet: dict[Size, list[Row]] = {}
    for number, size in enumerate(dict.fromkeys(case.size for case in cases)):
        console.print(f"a quiet run of {size.documents} documents …")
        quiet[size] = await quiet_run(size.journal(), folder / f"quiet-{number}")
    lines = []
    for number, case in enumerate(cases):
        console.print(f"{case.name} …")
        lines.append(await case.run(folder / f"case-{number}", quiet))
        if not lines[-1].verdict.is_clean:
            console.print(str(lines[-1].verdict))
    return lines


async def run_apart(checks: list[Apart], folder: Path) -> list[Line]:
    """Each check, one after the other."""
    lines = []
    for number, check in enumerate(checks):
        console.print(f"{check.name} …")
        lines.append(await check.run(folder / f"apart-{number}"))
        if not lines[-1].verdict.is_clean:
            console.print(str(lines[-1].verdict))
    return lines


def main() -> int:
    """The exit code."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it tells of every attempt while Kafka is away
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--short", action="store_true", help="the short form that every test run takes")
    parser.add_argument("--only", default="", help="cases whose name holds this word")
    arguments = parser.parse_args()
    cases = [case for case in (SHORT_CASES if arguments.short else CASES) if arguments.only in case.name]
    checks = [check for check in (SHORT_APART if arguments.short else APART) if arguments.only in check.name]
    if not cases and not checks:
        parser.error(f"no case is called {arguments.only!r}")
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        lines = asyncio.run(run(cases, Path(folder))) + asyncio.run(run_apart(checks, Path(folder)))
    console.print(table(lines))
    return 0 if all(line.verdict.is_clean for line in lines) else 1


if __name__ == "__main__":
    raise SystemExit(main())
