"""The pipeline's throughput over that of the bare encoders: same inputs, same threads, in one run.

*Bare* is the model calls alone. The extract and embed stages run in this process over the inputs, every call that they
make of a model is recorded with its arguments, and then those calls alone are made again, one after the other, timed.
*Pipeline* is a running ``sensorium up``, from the first publication to the last document being searchable; it decodes,
cuts, sends, embeds, stores, flushes. Both are warmed up first, take turns for some rounds, and the median of the ratios
round by round is the figure: what else the machine does meanwhile comes and goes.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from schemas.base import Event
from schemas.chunks import ChunksExtracted
from schemas.media import MediaReceived
from streams.bench.figures import Figure
from streams.bench.inputs import KINDS, Document, Kind
from streams.client import Client
from streams.local_system import local_system
from streams.runtime import blob_root
from streams.settings import Settings
from workers.models.profiles import Models
from workers.stage import Output, Stage

T = TypeVar("T")
WARM_UP = 2
ROUNDS = 3
QUICK_SHARE = 5


class _Recorder(Models):
    """Models that remember every call."""

    def __init__(self, settings: Settings, threads: int) -> None:
        super().__init__(settings.profile, threads=threads, generator="extractive", ocr=settings.ocr)
        self.calls: list[tuple[Callable[..., object], tuple[object, ...]]] = []

    async def run(self, work: Callable[..., T], *args: Any) -> T:
        self.calls.append((work, args))
        return await super().run(work, *args)


async def measure(settings: Settings, quick: bool) -> list[Figure]:
    """Two figures a modality: the ratio, and the pipeline's documents per second."""
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        chosen = settings.model_copy(update={"data_dir": Path(folder) / "data"})
        async with local_system(chosen), Client(chosen) as client:
            for kind in KINDS:
                documents = _documents(kind, quick)
                with _recorded(chosen) as models:
                    await _record(chosen, models, documents)
                    await _pipeline(client, kind.make(WARM_UP), "warm")
                    rounds = [await _round(client, models, documents, number) for number in range(ROUNDS)]
                figures += _figures(kind, len(documents), rounds)
    return figures


async def _round(client: Client, models: _Recorder, documents: Sequence[Document], number: int) -> tuple[float, float]:
    """Seconds of the bare encoders and of the pipeline, one after the other."""
    return await asyncio.to_thread(_replay, models.calls), await _pipeline(client, documents, f"run-{number}")


@contextmanager
def _recorded(settings: Settings) -> Iterator[_Recorder]:
    models = _Recorder(settings, settings.threads or 2)
    try:
        yield models
    finally:
        models.close()


def _documents(kind: Kind, quick: bool) -> list[Document]:
    return kind.make(max(2, kind.count // QUICK_SHARE) if quick else kind.count)


def _figures(kind: Kind, count: int, rounds: Sequence[tuple[float, float]]) -> list[Figure]:
    ratios = [bare / pipeline for bare, pipeline in rounds]
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    sample = f"{count} documents, {len(rounds)} rounds, ratios {spread}"
    name = f"{kind.modality.value}: pipeline"
    rate = statistics.median(count / pipeline for _, pipeline in rounds)
    return [
        Figure(
            name=f"{name} / bare encoders",
            value=statistics.median(ratios),
            unit="",
            sample=sample,
            at_least=kind.at_least,
        ),
        Figure(name=name, value=rate, unit="documents/s", sample=sample),
    ]


async def _pipeline(client: Client, documents: Sequence[Document], run: str) -> float:
    """Seconds from the first publication to the last document being searchable."""
    started = time.perf_counter()
    published = await asyncio.gather(
        *(
            client.publish(one.data, document_id=f"{run}-{one.document_id}", content_type=one.content_type)
            for one in documents
        )
    )
    refused = await client.searchable(published)
    if refused:
        raise RuntimeError(f"{refused[0].published.name} was refused: {refused[0].reason}")
    return time.perf_counter() - started


async def _record(settings: Settings, models: _Recorder, documents: Sequence[Document]) -> None:
    """Run the stages over the documents, so that ``models`` knows their calls."""
    from workers.embed import EmbedStage
    from workers.extract.stage import ExtractStage
    from workers.store.blobs import BlobStore
    from workers.store.parts import PartsStore

    blobs = BlobStore(blob_root(settings))
    extract = ExtractStage(blobs, models, settings.limits)
    embed = EmbedStage(blobs, PartsStore(blobs), models)
    await extract.start()
    await embed.start()
    models.calls.clear()
    received = [
        MediaReceived(
            document_id=one.document_id, version=1, content_type=one.content_type, event_time_ms=0, data=one.data
        )
        for one in documents
    ]
    size = settings.batch_size
    extracted: list[Event] = []
    for start in range(0, len(received), size):
        extracted += [event async for event in _events(extract, received[start : start + size])]
    batches = [event for event in extracted if isinstance(event, ChunksExtracted)]
    for start in range(0, len(batches), size):
        _ = [event async for event in _events(embed, batches[start : start + size])]
    await extract.stop()
    await embed.stop()


async def _events(stage: Stage, batch: Sequence[Event]) -> AsyncGenerator[Event, None]:
    output: Output
    async for output in stage.process(batch):
        if isinstance(output.result, Exception):
            raise output.result
        yield output.result


def _replay(calls: Sequence[tuple[Callable[..., object], tuple[object, ...]]]) -> float:
    started = time.perf_counter()
    for work, arguments in calls:
        work(*arguments)
    return time.perf_counter() - started
