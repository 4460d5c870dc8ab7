"""Memory of ``sensorium up`` after some work, and how long it takes to be ready."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import psutil

from streams.bench.figures import Figure
from streams.client import Client
from streams.demo import DOCUMENTS, QUESTIONS, SAMPLES
from streams.local_system import local_system
from streams.settings import Settings

GIB = 2**30


async def measure(settings: Settings, quick: bool) -> list[Figure]:
    """The whole tree of processes: what each has for itself and its share of what they have in common (PSS)."""
    with tempfile.TemporaryDirectory() as folder:
        chosen = settings.model_copy(update={"data_dir": Path(folder) / "data"})
        started = time.perf_counter()
        async with local_system(chosen) as up, Client(chosen) as client:
            ready_s = time.perf_counter() - started
            published = [await client.publish(SAMPLES / name, document_id=name) for name in DOCUMENTS]
            await client.searchable(published)
            for question in QUESTIONS[:1] if quick else QUESTIONS:
                _ = [event async for event in client.ask(question.words, question.options)]
            tree = [psutil.Process(up.pid), *psutil.Process(up.pid).children(recursive=True)]
            memory = sum(_memory(process) for process in tree)
    return [
        Figure(
            name="memory of sensorium up",
            value=memory / GIB,
            unit="GiB",
            sample=f"{len(tree)} processes, after {len(DOCUMENTS)} documents and {len(QUESTIONS)} answers",
            at_most=4.0,
        ),
        Figure(name="start-up to ready", value=ready_s, unit="s", sample="warm caches", at_most=15.0),
    ]


def _memory(process: psutil.Process) -> int:
    """Bytes; the resident size where the system tells no proportional one."""
    info = process.memory_full_info()
    return int(getattr(info, "pss", info.rss))
