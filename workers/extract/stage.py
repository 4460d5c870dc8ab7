"""Extract: media in, chunks with their features out.

In: ``MediaReceived`` or ``DocumentDeleted``. Out: ``ChunksExtracted``, batch by batch, ``is_last`` on the last one; a
deletion passes through as ``is_deleted``. Refused media yield an ``InvalidEvent`` (``InvalidMedia``, ``LimitExceeded``,
``ForbiddenUri``). Containers, page counts, sizes and text are checked before anything is yielded; what is refused later
(too many chunks) leaves the batches before it standing, until a newer version or a deletion comes.

Decoding happens in processes apart (``workers.sandbox``), recognition in the models' own thread; while the chunks of
one document go out, the next document of the batch is already read.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from schemas.base import Event
from schemas.chunks import ChunksExtracted
from schemas.media import BlobRef, DocumentDeleted, DocumentsDeleted, MediaReceived
from workers.errors import InvalidEvent
from workers.extract.audio import read_audio
from workers.extract.batches import Batches
from workers.extract.draft import Clip, Reader, Recognisers, file_name
from workers.extract.image import read_image
from workers.extract.pdf import read_pdf
from workers.extract.sources import Blobs, opened_source
from workers.extract.text import read_text
from workers.extract.threads import in_thread
from workers.extract.video import read_video
from workers.limits import Limits
from workers.sandbox.pool import decoders
from workers.stage import Output

_AHEAD = 2
"""Documents in work at a time: one whose chunks go out, one that is being read."""
_WAITING = 2
"""Batches of a document that wait until it is its turn; then reading it pauses."""
_READERS: Final[dict[str, Reader]] = {
    "text": read_text,
    "image": read_image,
    "audio": read_audio,
    "video": read_video,
    "application": read_pdf,
}


@dataclass(slots=True)
class _Work:
    """One event in work. ``None`` in the queue ends it; an exception there is raised when it is its turn."""

    task: asyncio.Task[None] | None = None
    results: asyncio.Queue[ChunksExtracted | InvalidEvent | BaseException | None] = field(
        default_factory=lambda: asyncio.Queue(maxsize=_WAITING)
    )


class ExtractStage:
    """The stage. ``blobs`` gives claim-checked media and takes clips."""

    name = "extract"

    def __init__(self, blobs: Blobs, models: Recognisers, limits: Limits) -> None:
        self._blobs = blobs
        self._models = models
        self._limits = limits
        self._decoders = decoders(limits, "documents")

    async def start(self) -> None:
        """Load the recognisers and start a decoder, so that the first document does not wait for them."""
        models = self._models
        await asyncio.gather(
            models.run(lambda: (models.labeller, models.tagger, models.reader, models.speech)), self._decoders.warm()
        )

    async def stop(self) -> None:
        """End the decoders."""
        self._decoders.close()

    async def process(self, batch: Sequence[Event]) -> AsyncGenerator[Output, None]:
        """The chunks of each document, in the order of the events."""
        works = [_Work() for _ in batch]
        try:
            for origin, work in enumerate(works):
                for ahead in range(origin, min(origin + _AHEAD, len(batch))):
                    if works[ahead].task is None:
                        works[ahead].task = asyncio.create_task(self._work(batch[ahead], works[ahead]))
                while (result := await work.results.get()) is not None:
                    if isinstance(result, BaseException) and not isinstance(result, InvalidEvent):
                        raise result
                    yield Output(origin, result)
        finally:
            tasks = [work.task for work in works if work.task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, event: Event, work: _Work) -> None:
        """Fill the queue. Every exception goes through it: it is raised by ``process``, in the order of the events."""
        try:
            async with aclosing(self._extract(event)) as found:
                async for result in found:
                    await work.results.put(result)
            await work.results.put(None)
        except InvalidEvent as error:
            await work.results.put(error)
            await work.results.put(None)
        except Exception as error:
            await work.results.put(error)

    async def _extract(self, event: Event) -> AsyncGenerator[ChunksExtracted, None]:
        if isinstance(event, DocumentDeleted | DocumentsDeleted):
            yield _deleted(event)
            return
        if not isinstance(event, MediaReceived):
            raise InvalidEvent(
                f"extract cannot read a {event.ce_type}", hint="publish media.received or document.deleted events"
            )
        name = file_name(event.source_uri)
        clips = _Clips(self._blobs)
        async with opened_source(event, name, self._blobs, self._limits, self._decoders) as source:
            read = _READERS[source.content_type.partition("/")[0]]
            batches = Batches(event, source.content_type, self._limits)
            async with aclosing(read(source, self._models, self._limits)) as drafts:
                async for draft in drafts:
                    for batch in batches.add(draft, await clips.stored(draft.clip)):
                        yield batch
        yield batches.last()


class _Clips:
    """Puts clips into the blob store; the passages of a picture share the picture's."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._last: tuple[Clip, BlobRef] | None = None

    async def stored(self, clip: Clip | None) -> BlobRef | None:
        if clip is None:
            return None
        if self._last is None or self._last[0] is not clip:
            self._last = (clip, await in_thread(self._blobs.put, clip.data, clip.content_type))
        return self._last[1]


def _deleted(event: DocumentDeleted | DocumentsDeleted) -> ChunksExtracted:
    return ChunksExtracted(
        tenant=event.tenant,
        document_id=event.document_id,
        version=event.version,
        event_time_ms=event.version,
        is_deleted=True,
        scope=event.scope if isinstance(event, DocumentsDeleted) else None,
    )
