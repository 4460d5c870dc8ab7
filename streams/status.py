"""The state of a system in numbers: topics, lag by stage, workers, rows, freshness."""

from __future__ import annotations

import asyncio
import statistics
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from schemas.chunks import ChunksIndexed
from schemas.generations import FIRST
from streams import runtime
from streams.admin import stage_lag, topic_sizes
from streams.runtime import Addresses, StoppedStage, WorkerState
from streams.settings import Settings
from streams.shell import wall_ms
from streams.stages import generations_of
from streams.tail import open_consumer, read_to_end
from streams.topics import CHUNKS_INDEXED, of_generation
from streams.wire import decode

if TYPE_CHECKING:
    from workers.store.generations import Generations

RECENT_MS = 15 * 60 * 1000
"""Freshness is that of the last quarter of an hour."""


class Freshness(BaseModel):
    """Milliseconds from the first Kafka write of a document to its rows being searchable."""

    model_config = ConfigDict(frozen=True)

    batches: int
    p50_ms: float
    p95_ms: float


class Status(BaseModel):
    """What ``sensorium status`` shows."""

    model_config = ConfigDict(frozen=True)

    addresses: Addresses
    workers: tuple[WorkerState, ...]
    stopped: tuple[StoppedStage, ...] = ()
    topics: dict[str, int]
    lag: dict[str, int]
    generation: str
    rows: int
    freshness: Freshness | None


async def read_status(settings: Settings) -> Status:
    """Ask everything. Raises ``NotRunning`` or ``TransientError`` that names the part that is away."""
    addresses = runtime.resolve(settings)
    generation, rows = await asyncio.to_thread(_rows, generations_of(settings, addresses))
    return Status(
        addresses=addresses,
        workers=tuple(runtime.workers(settings.data_dir)),
        stopped=tuple(runtime.stopped_stages(settings.data_dir)),
        topics=await topic_sizes(addresses.kafka),
        lag=await stage_lag(addresses.kafka, generation or FIRST),
        generation=generation or FIRST,
        rows=rows,
        freshness=await _freshness(addresses.kafka, generation or FIRST),
    )


def _rows(found: Generations) -> tuple[str, int]:
    """The generation in use, and how many chunks it has."""
    name = found.in_use()
    return name, found.chunks(name) if name else 0


async def _freshness(bootstrap: str, generation: str) -> Freshness | None:
    topic = of_generation(CHUNKS_INDEXED, generation)
    consumer = await open_consumer(bootstrap, [topic], since_ms=wall_ms() - RECENT_MS)
    try:
        events = [decode(record) async for record in read_to_end(consumer)]
    finally:
        await consumer.stop()
    ages = [
        float(event.searchable_ms - event.trace.received_ms)
        for event in events
        if isinstance(event, ChunksIndexed) and event.trace.received_ms and not event.is_deleted
    ]
    if not ages:
        return None
    ages.sort()
    p95 = ages[min(len(ages) - 1, int(0.95 * len(ages)))]
    return Freshness(batches=len(ages), p50_ms=statistics.median(ages), p95_ms=p95)
