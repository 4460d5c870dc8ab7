"""Embed: chunks into the unified space, each channel by its own encoder, in batches across the events of a micro-batch.

In: ``ChunksExtracted``. Out: ``ChunksEmbedded`` with a vector, the text that BM25 reads and the place of the part
vectors of every chunk; deletions pass through. A chunk without anything to embed (no words, no sound) is left out:
there is nothing to find it by. Refuses with ``InvalidEvent`` an event whose media an encoder cannot read; raises
``TransientError`` where the blob store is away.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import structlog

from schemas.base import Event
from schemas.chunks import Channel, Chunk, ChunksEmbedded, ChunksExtracted, EmbeddedChunk
from workers.arrays import pack
from workers.clips import picture_loader, sound_loader
from workers.errors import InvalidEvent
from workers.hits import described
from workers.models.base import Embedding, ImageEncoder, ImageInput, SoundEncoder, SoundInput, TextEncoder
from workers.stage import Output
from workers.store.blobs import BlobStore
from workers.store.parts import PartsStore

log = structlog.get_logger(__name__)
T = TypeVar("T")

_CALL_SIZE = 32
"""Inputs of one call of an encoder: enough to be efficient, few enough that a question need not wait long."""

Place = tuple[int, int]
"""An event's position in the micro-batch, and a chunk's in the event."""


class Encoders(Protocol):
    """The part of ``workers.models.profiles.Models`` that embeds. A property may load weights: ask inside ``run``."""

    @property
    def text(self) -> TextEncoder:
        """Words."""

    @property
    def image(self) -> ImageEncoder:
        """Pictures."""

    @property
    def sound(self) -> SoundEncoder:
        """Sounds."""

    @property
    def generation(self) -> str:
        """The index generation that the vectors belong to."""

    @property
    def dimension(self) -> int:
        """Of the unified space."""

    async def run(self, fn: Callable[..., T], *args: object) -> T:
        """``fn(*args)`` in the models' own thread."""
        ...


@dataclass(frozen=True, slots=True)
class _Job:
    """Something to embed: ``kind`` names the encoder, ``size`` is what its cost grows with."""

    place: Place
    kind: str
    value: Any
    size: int


class EmbedStage:
    """See the module."""

    name = "embed"

    def __init__(self, blobs: BlobStore, parts: PartsStore, models: Encoders) -> None:
        self._blobs = blobs
        self._parts = parts
        self._models = models

    async def start(self) -> None:
        """Load the encoders."""
        for kind in ("text", "image", "sound"):
            await self._models.run(getattr, self._models, kind)

    async def stop(self) -> None:
        """Nothing to release."""

    async def process(self, batch: Sequence[Event]) -> AsyncGenerator[Output, None]:
        events = [_extracted(event) for event in batch]
        jobs = [job for origin, event in enumerate(events) for job in self._jobs(origin, event)]
        found: dict[Place, Embedding | InvalidEvent] = {}
        for kind in ("text", "image", "sound"):
            found |= await self._embed(kind, [job for job in jobs if job.kind == kind])
        by_event: dict[int, dict[int, Embedding | InvalidEvent]] = defaultdict(dict)
        for (origin, number), embedding in found.items():
            by_event[origin][number] = embedding
        for origin, event in enumerate(events):
            yield Output(origin, await self._result(event, by_event[origin]))

    def _jobs(self, origin: int, event: ChunksExtracted) -> list[_Job]:
        jobs = []
        for number, chunk in enumerate(event.chunks):
            place = (origin, number)
            if chunk.channel in (Channel.TEXT, Channel.SPEECH):
                if chunk.text.strip():  # without the title: parts point into the text
                    jobs.append(_Job(place, "text", chunk.text, len(chunk.text)))
            elif chunk.channel is Channel.PICTURE:
                load = picture_loader(self._blobs, chunk.media)
                image = ImageInput(chunk.features.labels, chunk.features.regions, load)
                jobs.append(_Job(place, "image", image, len(image.regions)))
            elif chunk.features.windows:
                sound = SoundInput(chunk.features.windows, sound_loader(self._blobs, chunk.media))
                jobs.append(_Job(place, "sound", sound, len(sound.windows)))
        return jobs

    async def _embed(self, kind: str, jobs: Sequence[_Job]) -> dict[Place, Embedding | InvalidEvent]:
        """Like lengths share a call, so that little is padded."""
        found: dict[Place, Embedding | InvalidEvent] = {}
        ordered = sorted(jobs, key=lambda job: job.size)
        for start in range(0, len(ordered), _CALL_SIZE):
            call = ordered[start : start + _CALL_SIZE]
            try:
                results: Sequence[Embedding | InvalidEvent] = await self._encode(kind, call)
            except InvalidEvent:  # one of them cannot be read: which?
                results = [await self._encode_one(kind, job) for job in call]
            found |= {job.place: result for job, result in zip(call, results, strict=True)}
        return found

    async def _encode(self, kind: str, jobs: Sequence[_Job]) -> list[Embedding]:
        def encode() -> list[Embedding]:
            embeddings: list[Embedding] = getattr(self._models, kind).encode([job.value for job in jobs])
            return embeddings

        return await self._models.run(encode)

    async def _encode_one(self, kind: str, job: _Job) -> Embedding | InvalidEvent:
        try:
            return (await self._encode(kind, [job]))[0]
        except InvalidEvent as error:
            return error

    async def _result(
        self, event: ChunksExtracted, embeddings: dict[int, Embedding | InvalidEvent]
    ) -> ChunksEmbedded | InvalidEvent:
        good: dict[int, Embedding] = {}
        for number, embedding in sorted(embeddings.items()):
            if isinstance(embedding, InvalidEvent):
                return embedding
            good[number] = embedding
        if len(good) < len(event.chunks):
            log.info("chunks hold nothing to embed", document=event.document_id, chunks=len(event.chunks) - len(good))
        refs = iter(await self._parts.write([each.parts for each in good.values() if len(each.parts.vectors)]))
        items = tuple(
            EmbeddedChunk(
                chunk=event.chunks[number],
                vector=pack(each.vector, "float32"),
                search_text=search_text(event.chunks[number]),
                parts=next(refs) if len(each.parts.vectors) else None,
            )
            for number, each in good.items()
        )
        return ChunksEmbedded(
            tenant=event.tenant,
            trace=event.trace,
            document_id=event.document_id,
            version=event.version,
            batch=event.batch,
            is_last=event.is_last,
            event_time_ms=event.event_time_ms,
            chunks=items,
            is_deleted=event.is_deleted,
            scope=event.scope,
            generation=self._models.generation,
        )


def search_text(chunk: Chunk) -> str:
    """What BM25 reads: the words, what is shown or heard, and the title."""
    return "\n".join(part for part in (chunk.text, described(chunk), chunk.title) if part)


def _extracted(event: Event) -> ChunksExtracted:
    if not isinstance(event, ChunksExtracted):
        raise TypeError(f"expected ChunksExtracted, not {type(event).__name__}")
    return event
