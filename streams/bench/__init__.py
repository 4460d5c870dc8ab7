"""``sensorium bench``: what this machine does, in figures that docs/performance.md explains.

Each measurement is a module; ``run_bench`` runs those that are asked for, one after the other, and prints a table (or
JSON lines) with what was wanted beside what was seen.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import psutil
from rich.table import Table

from streams.bench import freshness, overhead, padding, resources, search, throughput
from streams.bench.figures import Figure
from streams.cli.common import errors, output, print_json
from streams.client import UsageError
from streams.settings import Settings

Measurement = Callable[[Settings, bool], Awaitable[list[Figure]]]

MEASUREMENTS: dict[str, Measurement] = {
    "padding": padding.measure,
    "throughput": throughput.measure,
    "freshness": freshness.measure,
    "search": search.measure,
    "overhead": overhead.measure,
    "resources": resources.measure,
}


async def run_bench(settings: Settings, only: Sequence[str] = (), *, quick: bool, as_json: bool) -> int:
    """Measure; 0 where every want is met, else 1. Raises ``UsageError`` for a measurement that there is not."""
    unknown = set(only) - MEASUREMENTS.keys()
    if unknown:
        raise UsageError(
            f"no measurement is called {', '.join(sorted(unknown))}", hint=f"there are {', '.join(MEASUREMENTS)}"
        )
    figures: list[Figure] = []
    for name, measure in MEASUREMENTS.items():
        if only and name not in only:
            continue
        errors.print(f"measuring {name} …")
        found = await measure(settings, quick)
        figures += found
        if as_json:
            for figure in found:
                print_json({**figure.model_dump(), "is_met": figure.is_met})
    if as_json:
        print_json({"machine": machine()})
    else:
        _print(figures)
    return 0 if all(figure.is_met is not False for figure in figures) else 1


def _print(figures: Sequence[Figure]) -> None:
    output.print(machine())
    table = Table("what", "figure", "want", "of", box=None, pad_edge=False, header_style="dim")
    for figure in figures:
        colour = {True: "green", False: "red", None: "default"}[figure.is_met]
        value = f"[{colour}]{figure.value:.3g}[/] {figure.unit}"
        table.add_row(figure.name, value, figure.want, figure.sample)
    output.print(table)


def machine() -> str:
    """The machine, in a line."""
    gib = psutil.virtual_memory().total / 2**30
    return (
        f"{os.cpu_count()} cores ({_processor()}), {gib:.0f} GiB, {platform.system()} {platform.machine()}, "
        f"Python {sys.version.split()[0]}, torch {version('torch')}, load {os.getloadavg()[0]:.1f} at the end"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return platform.processor() or "unknown processor"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
