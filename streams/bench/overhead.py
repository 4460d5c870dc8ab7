"""What a query costs beside the models and the search, and how soon an answer begins.

The overhead is measured with the ``fake`` profile, whose models take no time: a question goes over all topics and
through retrieve, rerank and refine to its hits; the time that the same search takes in the store alone is subtracted.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path

from schemas.answers import AnswerFinished, TokenGenerated
from schemas.queries import QueryStage
from streams.bench.figures import Figure, percentile
from streams.bench.inputs import SAMPLES, texts
from streams.client import Client
from streams.local_system import local_system
from streams.runtime import resolve
from streams.settings import Settings
from streams.stages import Resources

ROWS = 200
QUERIES = 60
QUESTIONS = (
    "How long are raw recordings kept?",
    "When does the night shift begin?",
    "What is the number of the duty engineer?",
    "How long do the batteries last?",
    "Who decides about the long-term archive?",
    "What is marked amber?",
)


async def measure(settings: Settings, quick: bool) -> list[Figure]:
    """The overhead, and the latency of whole answers."""
    return [await _overhead(settings, QUERIES // 4 if quick else QUERIES), *await _answers(settings)]


async def _overhead(settings: Settings, count: int) -> Figure:
    with tempfile.TemporaryDirectory() as folder:
        chosen = settings.model_copy(update={"data_dir": Path(folder) / "data", "profile": "fake"})
        os.environ["SENSORIUM_PROFILE"] = "fake"  # for the workers
        try:
            async with local_system(chosen), Client(chosen) as client:
                published = await asyncio.gather(
                    *(client.publish(one.data, document_id=one.document_id) for one in texts(ROWS))
                )
                await client.searchable(published)
                whole = await _whole(client, count)
                search = await _search_alone(chosen, count)
        finally:
            del os.environ["SENSORIUM_PROFILE"]
    return Figure(
        name="query overhead, p50",
        value=percentile(whole, 0.5) - percentile(search, 0.5),
        unit="ms",
        sample=f"{count} queries, whole {percentile(whole, 0.5):.0f} ms, search {percentile(search, 0.5):.0f} ms",
        at_most=100.0,
    )


async def _whole(client: Client, count: int) -> list[float]:
    took = []
    for number in range(count + 3):
        started = time.perf_counter()
        await client.search(QUESTIONS[number % len(QUESTIONS)], stage=QueryStage.REFINE)
        took.append(1000 * (time.perf_counter() - started))
    return took[3:]


async def _search_alone(settings: Settings, count: int) -> list[float]:
    from workers.store.request import SearchRequest

    resources = Resources(settings, resolve(settings))
    store = resources.store
    await store.start()
    took = []
    try:
        for number in range(count + 3):
            question = QUESTIONS[number % len(QUESTIONS)]
            vector = resources.models.text.encode([question])[0].vector
            started = time.perf_counter()
            await store.search(SearchRequest("default", vector[None], question, settings.candidates))
            took.append(1000 * (time.perf_counter() - started))
    finally:
        await store.stop()
    return took[3:]


async def _answers(settings: Settings) -> list[Figure]:
    first: list[float] = []
    whole: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        chosen = settings.model_copy(update={"data_dir": Path(folder) / "data"})
        async with local_system(chosen), Client(chosen) as client:
            await client.searchable([await client.publish(SAMPLES / "handbook.md")])
            for number, question in enumerate((QUESTIONS[0], *QUESTIONS)):
                started = time.perf_counter()
                heard = None
                async for event in client.ask(question):
                    if isinstance(event, TokenGenerated) and heard is None:
                        heard = time.perf_counter() - started
                    if isinstance(event, AnswerFinished) and number and heard is not None:
                        first.append(heard)
                        whole.append(time.perf_counter() - started)
    sample = f"{len(first)} questions, idle"
    return [
        Figure(name="asked → first words, p50", value=percentile(first, 0.5), unit="s", sample=sample),
        Figure(name="asked → whole answer, p50", value=percentile(whole, 0.5), unit="s", sample=sample),
    ]
