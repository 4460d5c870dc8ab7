"""How long a hybrid search takes at 20,000 rows while rows keep arriving: ``python -m tests.benchmarks.hybrid_search``.

Starts milvus-lite's server in a process of its own, fills it with made-up chunks (384 dimensions, words drawn from a
Zipf-like vocabulary, four channels), then searches one question after the other while a writer adds rows at a steady
pace. Prints one JSON line: milliseconds of a search as a caller sees them, and rows written per second while filling.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from schemas.chunks import Channel, Chunk, EmbeddedChunk, Features, Label, Word
from schemas.media import Modality
from tests.workers.store.conftest import serve
from workers.arrays import pack
from workers.ids import chunk_id
from workers.store.request import SearchRequest
from workers.store.vectors import MilvusStore

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


def unit_vector() -> np.ndarray:
    """A random direction."""
    vector = rng.normal(size=DIMENSION).astype(np.float32)
    return vector / np.linalg.norm(vector)


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


async def keep_writing(
    store: MilvusStore, first: int, rows_per_second: float, batch: int, enough: asyncio.Event
) -> None:
    """Upsert at a steady pace until it is enough."""
    while not enough.is_set():
        started = time.monotonic()
        await store.upsert([made_up(number) for number in range(first, first + batch)])
        first += batch
        await asyncio.sleep(max(0.0, batch / rows_per_second - (time.monotonic() - started)))


async def measure(rows: int, seconds: float, rows_per_second: float, limit: int, flush_rows: int) -> dict[str, float]:
    """Fill, then search while writing."""
    with tempfile.TemporaryDirectory() as folder, serve(Path(folder)) as uri:
        store = MilvusStore(uri, collection="bench", dimension=DIMENSION, flush_rows=flush_rows)
        await store.start()
        started = time.monotonic()
        for first in range(0, rows, 100):
            await store.upsert([made_up(number) for number in range(first, min(rows, first + 100))])
        filled_s = time.monotonic() - started
        enough = asyncio.Event()
        writer = asyncio.create_task(keep_writing(store, rows, rows_per_second, 20, enough))
        took_ms: list[float] = []
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            request = SearchRequest("bench", unit_vector()[None], question(6), limit)
            started = time.monotonic()
            found = await store.search(request)
            took_ms.append(1000 * (time.monotonic() - started))
            assert len(found) == limit
            await asyncio.sleep(0.02)
        enough.set()
        await writer
        total = await store.count()
        await store.stop()
    cuts = statistics.quantiles(took_ms, n=100)
    return {
        "rows": rows,
        "rows_at_end": total,
        "written_per_s_while_filling": round(rows / filled_s, 1),
        "written_per_s_while_searching": round((total - rows) / seconds, 1),
        "searches": len(took_ms),
        "p50_ms": round(cuts[49], 1),
        "p95_ms": round(cuts[94], 1),
        "p99_ms": round(cuts[98], 1),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=30.0, help="how long it searches")
    parser.add_argument("--rows-per-second", type=float, default=50.0, help="how many rows arrive meanwhile")
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--flush-rows", type=int, default=100, help="rows that may wait for a flush")
    a = parser.parse_args()
    print(json.dumps(asyncio.run(measure(a.rows, a.seconds, a.rows_per_second, a.limit, a.flush_rows))))


if __name__ == "__main__":
    main()
