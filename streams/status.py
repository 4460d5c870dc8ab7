"""The state of a system in numbers: topics, lag by stage, workers, rows, freshness."""

from __future__ import annotations

import statistics

from pydantic import BaseModel, ConfigDict

from schemas.chunks import ChunksIndexed
from streams import runtime
from streams.admin import stage_lag, topic_sizes
from streams.runtime import Addresses, StoppedStage, WorkerState
from streams.settings import Settings
from streams.shell import wall_ms
from streams.tail import open_consumer, read_to_end
from streams.topics import CHUNKS_INDEXED
from streams.wire import decode

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
    rows: int
    freshness: Freshness | None


async def read_status(settings: Settings) -> Status:
    """Ask everything. Raises ``NotRunning`` or ``TransientError`` that names the part that is away."""
    addresses = runtime.resolve(settings)
    return Status(
        addresses=addresses,
        workers=tuple(runtime.workers(settings.data_dir)),
        stopped=tuple(runtime.stopped_stages(settings.data_dir)),
        topics=await topic_sizes(addresses.kafka),
        lag=await stage_lag(addresses.kafka),
        rows=await _rows(settings, addresses),
        freshness=await _freshness(addresses.kafka),
    )


async def _rows(settings: Settings, addresses: Addresses) -> int:
    from streams.stages import Resources

    store = Resources(settings, addresses).store
    await store.start()
    try:
        return await store.count_all()
    finally:
        await store.stop()


async def _freshness(bootstrap: str) -> Freshness | None:
    consumer = await open_consumer(bootstrap, [CHUNKS_INDEXED], since_ms=wall_ms() - RECENT_MS)
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
