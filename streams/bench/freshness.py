"""Seconds from a publication to its rows being searchable: on an idle system, and beside a stream of photos."""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from streams.bench.figures import Figure, percentile
from streams.bench.inputs import images, texts
from streams.client import Client
from streams.local_system import local_system
from streams.settings import Settings

SAMPLES = 40
PHOTOS_PER_SECOND = 1.0
PAUSE_S = 0.3
WARM_UP = 3


async def measure(settings: Settings, quick: bool) -> list[Figure]:
    """Text, idle and under load."""
    count = SAMPLES // 4 if quick else SAMPLES
    with tempfile.TemporaryDirectory() as folder:
        chosen = settings.model_copy(update={"data_dir": Path(folder) / "data"})
        async with local_system(chosen), Client(chosen) as client:
            await _ages(client, "warm", WARM_UP)
            idle = await _ages(client, "idle", count)
            load = asyncio.create_task(_photos(client))
            try:
                await asyncio.sleep(2.0)  # until photos are on their way
                busy = await _ages(client, "busy", count)
            finally:
                load.cancel()
                with suppress(asyncio.CancelledError):
                    await load
    return [*_figures("idle", idle, at_most=2.0), *_figures("beside a photo a second", busy, at_most=None)]


def _figures(name: str, ages_s: list[float], at_most: float | None) -> list[Figure]:
    sample = f"{len(ages_s)} texts, one at a time"
    return [
        Figure(
            name=f"text → searchable, {name}, p50",
            value=percentile(ages_s, 0.5),
            unit="s",
            sample=sample,
            at_most=at_most,
        ),
        Figure(name=f"text → searchable, {name}, p95", value=percentile(ages_s, 0.95), unit="s", sample=sample),
    ]


async def _ages(client: Client, run: str, count: int) -> list[float]:
    ages = []
    for document in texts(count):
        started = time.perf_counter()
        published = await client.publish(document.data, document_id=f"{run}-{document.document_id}")
        await client.searchable([published])
        ages.append(time.perf_counter() - started)
        await asyncio.sleep(PAUSE_S)
    return ages


async def _photos(client: Client) -> None:
    number = 0
    while True:
        for document in images(16):
            number += 1
            await client.publish(document.data, document_id=f"load-{number}")
            await asyncio.sleep(1 / PHOTOS_PER_SECOND)
