"""Broken and hostile documents: every accepted format, changed in every way, and attacks made by hand.

Each goes through the extract stage as an event does, its decoding in processes apart. It must end as chunks or as a
refusal with a reason and a hint; the good document beside it must be read as if nothing had been; and no decoder may
hold more memory than it may.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from schemas.chunks import ChunksExtracted
from schemas.media import MediaReceived
from tests.bad_inputs import bad_media
from tests.faults.oracle import Verdict
from tests.mutants import Mutant, mutants, originals
from tests.workers.extract.fakes import FakeModels, MemoryBlobs
from workers.errors import InvalidEvent
from workers.extract.stage import ExtractStage
from workers.limits import Limits
from workers.sandbox.pool import decoders
from workers.stage import Output

BATCH = 8
GOOD = MediaReceived(document_id="good", version=1, event_time_ms=0, data=b"A good document.")
GOOD_TEXT = ["A good document."]


@dataclass
class Tried:
    """What came of the documents; ``wrong`` names those that ended as they must not."""

    indexed: int = 0
    refused: int = 0
    killed: int = 0
    """Refused because their decoder was ended, or died."""
    reasons: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    peak_mib: float = 0.0
    """The most that a decoder held in memory."""

    @property
    def tried(self) -> int:
        """All of them."""
        return self.indexed + self.refused + len(self.wrong)

    def verdict(self, limits: Limits) -> Verdict:
        """For the table."""
        heavy = [f"a decoder held {self.peak_mib:.0f} MiB"] if self.peak_mib > limits.decoder_memory_mib else []
        return Verdict(wrong=(*self.wrong, *heavy))


def documents(per_format: int) -> Iterator[Mutant]:
    """``per_format`` mutants of each format, then the attacks."""
    for name in originals():
        yield from mutants(name, per_format)
    for bad in bad_media():
        event = MediaReceived(
            document_id=bad.name, version=1, event_time_ms=0, content_type=bad.content_type, data=bad.data
        )
        yield Mutant("attack", event)


async def run(per_format: int, limits: Limits | None = None) -> Tried:
    """Try them all. An error that is not the document's fault is raised: it would have ended the stage."""
    limits = limits or Limits()
    tried = Tried()
    stage = ExtractStage(MemoryBlobs(), FakeModels(), limits)
    await stage.start()
    try:
        found = documents(per_format)
        while batch := list(islice(found, BATCH)):
            await _batch(stage, batch, tried)
        tried.peak_mib = decoders(limits, "documents").peak_bytes / 2**20
    finally:
        await stage.stop()
    return tried


async def _batch(stage: ExtractStage, batch: Sequence[Mutant], tried: Tried) -> None:
    events = [*(mutant.event for mutant in batch), GOOD]
    results: dict[int, list[Output]] = {origin: [] for origin in range(len(events))}
    since = time.monotonic()
    async for output in stage.process(events):
        results[output.origin].append(output)
        tried.slowest_s = max(tried.slowest_s, time.monotonic() - since)
        since = time.monotonic()
    for origin, mutant in enumerate(batch):
        _judge(mutant, [output.result for output in results[origin]], tried)
    texts = [chunk.text for output in results[len(batch)] for chunk in getattr(output.result, "chunks", ())]
    if texts != GOOD_TEXT:
        tried.wrong.append(f"the good document after {batch[-1].event.document_id[:80]}: {texts}")


def _judge(mutant: Mutant, results: Sequence[object], tried: Tried) -> None:
    last = results[-1] if results else None
    if isinstance(last, InvalidEvent) and last.reason and last.hint:
        tried.refused += 1
        tried.killed += last.reason.startswith("decoder_killed")
        tried.reasons[f"{mutant.kind}: {last.reason[:60]}"] += 1
    elif isinstance(last, ChunksExtracted) and last.is_last:
        tried.indexed += 1
    else:
        tried.wrong.append(f"{mutant.event.document_id[:80]}: {last!r:.200}")
