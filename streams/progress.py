"""How far a document is, derived from events alone: stored, extracted, embedded, searchable, or refused."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from schemas.base import Event
from schemas.chunks import ChunkBatch, ChunksEmbedded, ChunksExtracted, ChunksIndexed
from schemas.letters import DeadLetter

MAX_TRACKED = 10_000


class Step(StrEnum):
    """Where a document is."""

    STORED = "stored"
    EXTRACTED = "extracted"
    EMBEDDED = "embedded"
    SEARCHABLE = "searchable"
    REFUSED = "refused"


class Published(BaseModel):
    """One version of a document that Kafka has."""

    model_config = ConfigDict(frozen=True)

    tenant: str
    document_id: str
    version: int
    source_uri: str = ""
    trace_id: str = ""
    is_inline: bool = True

    @property
    def name(self) -> str:
        """What people call it."""
        return self.source_uri or self.document_id


class Progress(BaseModel):
    """A document took a step."""

    model_config = ConfigDict(frozen=True)

    published: Published
    step: Step
    chunks: int = 0
    reason: str = ""
    hint: str = ""

    @property
    def failed(self) -> bool:
        """Whether it ended as a dead letter."""
        return self.step is Step.REFUSED


class ProgressBoard:
    """What became of the documents that were published lately, by the trace ids that all events about them carry.

    The oldest are forgotten beyond ``MAX_TRACKED``, so that a client may publish for ever.
    """

    def __init__(self) -> None:
        self._steps: OrderedDict[str, list[Progress]] = OrderedDict()
        self._published: dict[str, Published] = {}
        self._chunks: dict[str, int] = {}
        self._changed = asyncio.Condition()

    def expect(self, published: Published) -> None:
        """Remember what is told of ``published`` from now on."""
        self._steps[published.trace_id] = []
        self._published[published.trace_id] = published
        self._chunks[published.trace_id] = 0
        while len(self._steps) > MAX_TRACKED:
            oldest, _ = self._steps.popitem(last=False)
            del self._published[oldest], self._chunks[oldest]

    def concerns(self, event: Event) -> bool:
        """Whether ``event`` is about one of the documents."""
        return event.trace.trace_id in self._steps

    async def take(self, event: Event) -> None:
        """Note what ``event`` tells."""
        trace_id = event.trace.trace_id
        if isinstance(event, ChunksIndexed):
            self._chunks[trace_id] += len(event.chunk_ids)
        step = _step(self._published[trace_id], event, self._chunks[trace_id])
        if step is not None:
            async with self._changed:
                self._steps[trace_id].append(step)
                self._changed.notify_all()

    async def follow(self, published: Iterable[Published], timeout_s: float) -> AsyncIterator[Progress]:
        """The steps of some documents, those of the past first, until each has ended.

        Raises ``TimeoutError`` where nothing is heard for ``timeout_s``, ``KeyError`` for a document not on this board.
        """
        seen = {item.trace_id: 0 for item in published}
        while seen:
            fresh = [(trace, step) for trace, count in seen.items() for step in self._steps[trace][count:]]
            for trace_id, step in fresh:
                seen[trace_id] += 1
                if step.step in _ENDS:
                    del seen[trace_id]
                yield step
            if not fresh:
                async with asyncio.timeout(timeout_s), self._changed:
                    await self._changed.wait()


def _step(published: Published, event: Event, chunks: int) -> Progress | None:
    if isinstance(event, DeadLetter):
        return Progress(published=published, step=Step.REFUSED, reason=event.reason, hint=event.hint)
    if isinstance(event, ChunkBatch) and event.is_last:
        return Progress(published=published, step=_STEPS[type(event)], chunks=chunks)
    return None


_STEPS: dict[type[Event], Step] = {
    ChunksExtracted: Step.EXTRACTED,
    ChunksEmbedded: Step.EMBEDDED,
    ChunksIndexed: Step.SEARCHABLE,
}
_ENDS = (Step.SEARCHABLE, Step.REFUSED)
