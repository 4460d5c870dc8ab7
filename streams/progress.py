"""How far a document is, derived from events alone: stored, extracted, embedded, searchable; or deleted; or refused.

A ``ProgressBoard`` notes what passes on the topics about the documents of one client, by the trace ids that all events
about them carry. It remembers a document for as long as the caller keeps its ``Published``: a client may publish for
ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from weakref import WeakValueDictionary

from pydantic import BaseModel, ConfigDict, PrivateAttr

from schemas.base import Event
from schemas.chunks import ChunkBatch, ChunksEmbedded, ChunksExtracted, ChunksIndexed
from schemas.generations import FIRST
from schemas.letters import DeadLetter
from streams.client_errors import NoAnswer, UsageError
from streams.record import Record
from workers.errors import SensoriumError

TRACEPARENT = "ce_traceparent"
SUPERSEDED = "a newer version, or a deletion, was there first"


class Step(StrEnum):
    """Where a document is. The last three are ends."""

    STORED = "stored"
    EXTRACTED = "extracted"
    EMBEDDED = "embedded"
    SEARCHABLE = "searchable"
    DELETED = "deleted"
    REFUSED = "refused"

    @property
    def is_end(self) -> bool:
        """Whether nothing more is to come."""
        return self in (Step.SEARCHABLE, Step.DELETED, Step.REFUSED)


NEXT_STAGE = {Step.STORED: "extract", Step.EXTRACTED: "embed", Step.EMBEDDED: "index"}
"""Who has a document that is no further than this."""


@dataclass(frozen=True, slots=True)
class _Noted:
    step: Step
    chunks: int = 0
    reason: str = ""
    hint: str = ""


@dataclass(eq=False)
class _Track:
    """What was heard of one version of a document."""

    noted: list[_Noted] = field(default_factory=list)
    chunks: int = 0
    listeners: list[asyncio.Queue[tuple[str, _Noted] | SensoriumError]] = field(default_factory=list)


class Published(BaseModel):
    """One version of a document that Kafka has, or its deletion."""

    model_config = ConfigDict(frozen=True)

    tenant: str
    document_id: str
    version: int
    source_uri: str = ""
    trace_id: str = ""
    is_inline: bool = True

    _track: _Track = PrivateAttr(default_factory=_Track)

    @property
    def name(self) -> str:
        """What people call it."""
        return self.source_uri or self.document_id


class Progress(BaseModel):
    """A document took a step. ``chunks`` counts those that are searchable by now."""

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
    """What became of the documents of one client, in one index generation. A ``streams.tail.Listener``."""

    def __init__(self, generation: str = FIRST) -> None:
        self._generation = generation
        self._tracks: WeakValueDictionary[str, _Track] = WeakValueDictionary()

    def expect(self, published: Published) -> None:
        """Note what is told of ``published`` from now on, for as long as somebody has it."""
        self._tracks[published.trace_id] = published._track

    def stored(self, published: Published) -> None:
        """Kafka has it; the stages may have been faster than this news."""
        if not published._track.noted:
            _note(published.trace_id, published._track, _Noted(Step.STORED))

    def wants(self, record: Record) -> bool:
        return any(name == TRACEPARENT and _trace_id(value or b"") in self._tracks for name, value in record.headers)

    def take(self, event: Event) -> None:
        track = self._tracks.get(event.trace.trace_id)
        if track is None or (isinstance(event, DeadLetter) and event.generation != self._generation):
            return
        if isinstance(event, ChunksIndexed):
            track.chunks += len(event.chunk_ids)
        if (noted := _noted(event, track.chunks)) is not None:
            _note(event.trace.trace_id, track, noted)

    def fail(self, error: SensoriumError) -> None:
        for track in list(self._tracks.values()):
            for listener in track.listeners:
                listener.put_nowait(error)

    async def follow(self, published: Iterable[Published], timeout_s: float) -> AsyncIterator[Progress]:
        """The steps of some documents, those of the past first, until each has ended.

        Raises ``NoAnswer``, which names what is stuck where, when nothing is heard for ``timeout_s``; ``UsageError``
        for a document that another client published.
        """
        waiting = {item.trace_id: item for item in published}
        if strange := [item.name for item in waiting.values() if item.trace_id not in self._tracks]:
            raise UsageError(f"{strange[0]} was not published by this client", hint="wait with the one that did")
        queue: asyncio.Queue[tuple[str, _Noted] | SensoriumError] = asyncio.Queue()
        tracks = {trace_id: item._track for trace_id, item in waiting.items()}
        for trace_id, track in tracks.items():
            for noted in track.noted:
                queue.put_nowait((trace_id, noted))
            track.listeners.append(queue)
        try:
            while waiting:
                trace_id, noted = await _next(queue, timeout_s, waiting)
                if trace_id not in waiting:
                    continue
                yield _progress(waiting[trace_id], noted)
                if noted.step.is_end:
                    del waiting[trace_id]
        finally:
            for track in tracks.values():
                track.listeners.remove(queue)


async def _next(
    queue: asyncio.Queue[tuple[str, _Noted] | SensoriumError], timeout_s: float, waiting: dict[str, Published]
) -> tuple[str, _Noted]:
    try:
        async with asyncio.timeout(timeout_s):
            heard = await queue.get()
    except TimeoutError:
        raise _stuck(list(waiting.values()), timeout_s) from None
    if isinstance(heard, SensoriumError):
        raise heard
    return heard


def _stuck(waiting: list[Published], timeout_s: float) -> NoAnswer:
    first = waiting[0]
    stage = NEXT_STAGE[first._track.noted[-1].step] if first._track.noted else "Kafka"
    others = f" and {len(waiting) - 1} more" if len(waiting) > 1 else ""
    return NoAnswer(
        f"nothing was heard for {timeout_s:g} s of {first.name}{others}: {stage} has not answered",
        hint="`sensorium status` shows the workers and the lag of each stage",
    )


def _note(trace_id: str, track: _Track, noted: _Noted) -> None:
    track.noted.append(noted)
    for listener in track.listeners:
        listener.put_nowait((trace_id, noted))


def _progress(published: Published, noted: _Noted) -> Progress:
    return Progress(published=published, step=noted.step, chunks=noted.chunks, reason=noted.reason, hint=noted.hint)


def _noted(event: Event, chunks: int) -> _Noted | None:
    """The step that an event tells of; a document of several batches takes it with the last."""
    if isinstance(event, DeadLetter):
        return _Noted(Step.REFUSED, reason=event.reason, hint=event.hint)
    if not (isinstance(event, ChunkBatch) and event.is_last):
        return None
    if isinstance(event, ChunksIndexed) and event.is_deleted:
        return _Noted(Step.DELETED)
    reason = SUPERSEDED if isinstance(event, ChunksIndexed) and event.superseded else ""
    return _Noted(_STEPS[type(event)], chunks, reason)


def _trace_id(traceparent: bytes) -> str:
    fields = traceparent.decode("ascii", "replace").split("-")
    return fields[1] if len(fields) == 4 else ""


_STEPS: dict[type[Event], Step] = {
    ChunksExtracted: Step.EXTRACTED,
    ChunksEmbedded: Step.EMBEDDED,
    ChunksIndexed: Step.SEARCHABLE,
}
