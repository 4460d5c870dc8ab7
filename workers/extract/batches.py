"""Drafts into ``ChunksExtracted``: identity, ordinals, and batches that fit into a message.

In: drafts of one document, in order. Out: batches of at most 32 chunks and 512 KiB of JSON; one that has waited for two
seconds goes without being full, so that the beginning of a long video is searchable while its end is read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from schemas.chunks import Chunk, ChunksExtracted
from schemas.media import BlobRef, MediaReceived
from workers.errors import LimitExceeded
from workers.extract.draft import Draft
from workers.ids import chunk_id
from workers.limits import Limits

MAX_CHUNKS = 32
MAX_JSON_BYTES = 512 * 1024
_PATIENCE_S = 2.0


class Batches:
    """Collects the chunks of one document. ``clock`` gives seconds that never run backwards."""

    def __init__(
        self,
        event: MediaReceived,
        content_type: str,
        limits: Limits,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._event = event
        self._content_type = content_type
        self._limits = limits
        self._clock = clock
        self._chunks: list[Chunk] = []
        self._bytes = 0
        self._since = 0.0
        self._batch = 0
        self._ordinal = 0

    def add(self, draft: Draft, media: BlobRef | None = None) -> Iterator[ChunksExtracted]:
        """Take one more chunk; yields the batch before it when that is full or has waited long enough."""
        if self._ordinal == self._limits.max_chunks:
            raise LimitExceeded(
                f"the document makes more than {self._limits.max_chunks} chunks",
                hint="split it, or raise SENSORIUM_LIMITS__MAX_CHUNKS",
            )
        chunk = self._chunk(draft, media)
        size = len(chunk.model_dump_json()) + 1
        is_full = len(self._chunks) == MAX_CHUNKS or self._bytes + size > MAX_JSON_BYTES
        if self._chunks and (is_full or self._clock() - self._since > _PATIENCE_S):
            yield self._ended(is_last=False)
        if not self._chunks:
            self._since = self._clock()
        self._chunks.append(chunk)
        self._bytes += size
        self._ordinal += 1

    def last(self) -> ChunksExtracted:
        """What is left; without chunks if there were none, for that, too, replaces an older version."""
        return self._ended(is_last=True)

    def _ended(self, *, is_last: bool) -> ChunksExtracted:
        batch = ChunksExtracted(
            tenant=self._event.tenant,
            document_id=self._event.document_id,
            version=self._event.version,
            event_time_ms=self._event.event_time_ms,
            batch=self._batch,
            is_last=is_last,
            chunks=tuple(self._chunks),
        )
        self._chunks, self._bytes = [], 0
        self._batch += 1
        return batch

    def _chunk(self, draft: Draft, media: BlobRef | None) -> Chunk:
        event = self._event
        return Chunk(
            chunk_id=chunk_id(event.tenant, event.document_id, event.version, draft.place),
            tenant=event.tenant,
            document_id=event.document_id,
            version=event.version,
            ordinal=self._ordinal,
            source=event.source,
            source_uri=event.source_uri,
            modality=draft.modality,
            channel=draft.channel,
            content_type=self._content_type,
            event_time_ms=event.event_time_ms + (draft.start_ms or 0),
            text=draft.text,
            title=draft.title,
            start_char=draft.start_char,
            end_char=draft.end_char,
            page=draft.page,
            box=draft.box,
            start_ms=draft.start_ms,
            end_ms=draft.end_ms,
            features=draft.features,
            media=media,
        )
