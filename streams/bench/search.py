"""How long a hybrid search takes at 20,000 rows while rows keep arriving.

Starts milvus-lite's server in a process of its own, fills it with made-up chunks (384 dimensions, words drawn from a
Zipf-like vocabulary, four channels), then searches one question after the other while a writer adds rows at a steady
pace: milliseconds of a search as a caller sees them.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

import numpy as np

from schemas.chunks import Channel, Chunk, EmbeddedChunk, Features, Label, Word
from schemas.media import Modality
from streams.bench.figures import Figure, percentile
from streams.milvus_server import start_milvus
from streams.settings import Settings
from workers.arrays import pack
from workers.ids import chunk_id
from workers.models.base import Floats
from workers.store.request import SearchRequest
from workers.store.vectors import MilvusStore

ROWS, SECONDS = 20_000, 30.0
QUICK_ROWS, QUICK_SECONDS = 2_000, 5.0
ROWS_PER_SECOND = 50.0
FILL_BATCH, WRITE_BATCH = 100, 20
LIMIT = 40
PAUSE_S = 0.02
DIMENSION = 384
WORDS = [f"w{i:04d}x" for i in range(5000)]
KINDS = (
    (Channel.TEXT, Modality.TEXT),
    (Channel.TEXT, Modality.TEXT),
    (Channel.SPEECH, Modality.AUDIO),
    (Channel.PICTURE, Modality.IMAGE),
    (Channel.SOUND, Modality.AUDIO),
)
rng = np.random.default_rng(7)


def unit_vector() -> Floats:
    """A random direction."""
    vector = rng.normal(size=DIMENSION).astype(np.float32)
    unit: Floats = vector / np.linalg.norm(vector)
    return unit


def words(count: int) -> str:
    """Frequent words are frequent, rare ones rare."""
    return " ".join(WORDS[i % len(WORDS)] for i in rng.zipf(1.3, size=count))


def question(count: int) -> str:
    """Words of a question: as in texts, but for the 60 most frequent ones, which stand for stop words."""
    drawn = (number % len(WORDS) for number in rng.zipf(1.3, size=50 * count))
    return " ".join([WORDS[number] for number in drawn if number > 60][:count])


def made_up(number: int) -> EmbeddedChunk:
    """A chunk of 60 words, with word times for speech and labels for pictures, in a document of its own."""
    channel, modality = KINDS[number % len(KINDS)]
    text = words(60) if channel in (Channel.TEXT, Channel.SPEECH) else ""
    timed = tuple(Word(text=word, start_ms=i * 300, end_ms=i * 300 + 250) for i, word in enumerate(text.split()))
    features = Features(
        labels=tuple(Label(name=name, score=0.1) for name in words(8).split()) if not text else (),
        words=timed if channel is Channel.SPEECH else (),
    )
    document = f"document-{number}"
    chunk = Chunk(
        chunk_id=chunk_id("bench", document, 1, "0"),
        tenant="bench",
        document_id=document,
        version=1,
        ordinal=0,
        source="made-up",
        source_uri=f"bench://{number}",
        modality=modality,
        channel=channel,
        content_type="text/plain",
        event_time_ms=number,
        text=text,
        features=features,
    )
    return EmbeddedChunk(chunk=chunk, vector=pack(unit_vector(), "float32"), search_text=text or words(8))


async def keep_writing(store: MilvusStore, first: int, enough: asyncio.Event) -> None:
    """Upsert at a steady pace until it is enough."""
    while not enough.is_set():
        started = time.monotonic()
        await store.upsert([made_up(number) for number in range(first, first + WRITE_BATCH)])
        first += WRITE_BATCH
        await asyncio.sleep(max(0.0, WRITE_BATCH / ROWS_PER_SECOND - (time.monotonic() - started)))


async def measure(settings: Settings, quick: bool) -> list[Figure]:
    """Fill, then search while writing."""
    rows, seconds = (QUICK_ROWS, QUICK_SECONDS) if quick else (ROWS, SECONDS)
    with tempfile.TemporaryDirectory() as folder:
        child, uri = await start_milvus(Path(folder))
        try:
            took_ms, written = await _searches(uri, rows, seconds)
        finally:
            await child.stop()
    sample = f"{len(took_ms)} searches at {rows} rows, {written:.0f} rows/s arriving"
    name = "hybrid search while rows arrive"
    return [
        Figure(name=f"{name}, p50", value=percentile(took_ms, 0.5), unit="ms", sample=sample, at_most=50.0),
        Figure(name=f"{name}, p95", value=percentile(took_ms, 0.95), unit="ms", sample=sample, at_most=250.0),
    ]


async def _searches(uri: str, rows: int, seconds: float) -> tuple[list[float], float]:
    """Milliseconds of each search, and the rows that were written per second meanwhile."""
    store = MilvusStore(uri, collection="bench", dimension=DIMENSION)
    await store.start()
    for first in range(0, rows, FILL_BATCH):
        await store.upsert([made_up(number) for number in range(first, min(rows, first + FILL_BATCH))])
    enough = asyncio.Event()
    writer = asyncio.create_task(keep_writing(store, rows, enough))
    took_ms: list[float] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        request = SearchRequest("bench", unit_vector()[None], question(6), LIMIT)
        started = time.perf_counter()
        found = await store.search(request)
        took_ms.append(1000 * (time.perf_counter() - started))
        if len(found) != LIMIT:
            raise RuntimeError(f"a search found {len(found)} of {LIMIT} rows")
        await asyncio.sleep(PAUSE_S)
    enough.set()
    await writer
    written = (await store.count_all() - rows) / seconds
    await store.stop()
    return took_ms, written
