"""The client: publish media, ask about it, follow answers. Everything it does is events on topics.

::

    async with Client(Settings()) as client:
        published = await client.publish("talk.mp4", source="studio")
        await client.searchable([published])
        async for event in client.ask("What was said about the ferry?"):
            ...

Raises ``UsageError`` for a request that cannot be right, ``NotRunning`` where nothing answers, ``NoAnswer`` where an
answer does not come in time, ``QueryFailed`` where a search ends in ``AnswerFailed``.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict

from schemas.answers import TERMINAL, AnswerEvent, AnswerFailed, Hit, HitsRanked, StreamEvent
from schemas.base import DEFAULT_TENANT, Event, Trace
from schemas.media import BlobRef, DocumentDeleted, MediaReceived, Modality
from schemas.queries import Filters, QueryAsked, QueryMedia, QueryStage
from streams import runtime
from streams.answers import AnswerAssembler
from streams.progress import Progress, ProgressBoard, Published
from streams.publisher import Publisher
from streams.query_ids import moment_of, new_query_id
from streams.settings import Settings
from streams.shell import wall_ms
from streams.tail import Tail, open_consumer, to_record
from streams.topics import ANSWERS_STREAMED, CHUNKS_EMBEDDED, CHUNKS_EXTRACTED, CHUNKS_INDEXED, DEAD_LETTERS
from streams.wire import decode, new_traceparent
from workers.errors import InvalidEvent, SensoriumError
from workers.store.blobs import BlobStore

READY_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 120.0
CLOCK_SLACK_MS = 60_000
"""How far the clocks of two machines may be apart when a late client looks for the start of a query."""

MediaInput = str | os.PathLike[str] | bytes


class UsageError(SensoriumError):
    """The caller asked for something that cannot be right."""


class NoAnswer(SensoriumError):
    """Nothing was heard for too long."""


class QueryFailed(SensoriumError):
    """A query ended in ``AnswerFailed``."""


class AskOptions(BaseModel):
    """What a question is about, and how much is wanted."""

    model_config = ConfigDict(frozen=True)

    image: MediaInput | None = None
    audio: MediaInput | None = None
    video: MediaInput | None = None
    modalities: tuple[Modality, ...] = ()
    sources: tuple[str, ...] = ()
    document_ids: tuple[str, ...] = ()
    since_ms: int | None = None
    until_ms: int | None = None
    tenant: str = DEFAULT_TENANT
    limit: int = 10


class Client:
    """One connection to a running system, for any number of questions and publications at the same time."""

    def __init__(self, settings: Settings, *, ready_timeout_s: float = READY_TIMEOUT_S) -> None:
        self._settings = settings
        self._ready_timeout_s = ready_timeout_s

    async def __aenter__(self) -> Self:
        """Connect; waits while ``sensorium up`` is still starting. Raises ``NotRunning``."""
        addresses = await runtime.wait_ready(self._settings, self._ready_timeout_s)
        self._bootstrap = addresses.kafka
        self._blobs = BlobStore(addresses.blobs, self._settings.media_roots)
        self._publisher = Publisher(self._bootstrap)
        self._answers = Tail(self._bootstrap, [ANSWERS_STREAMED])
        self._ingestion = Tail(self._bootstrap, [CHUNKS_EXTRACTED, CHUNKS_EMBEDDED, CHUNKS_INDEXED, DEAD_LETTERS])
        self._tailing: dict[Tail, asyncio.Task[None]] = {}
        self._board = ProgressBoard()
        self._watching: asyncio.Task[None] | None = None
        await self._publisher.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        if self._watching:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        for tail, started in self._tailing.items():
            await asyncio.gather(started, return_exceptions=True)
            await tail.stop()
        await self._publisher.stop()

    async def publish(
        self,
        media: MediaInput,
        *,
        document_id: str | None = None,
        version: int | None = None,
        content_type: str = "",
        source: str = "unknown",
        tenant: str = DEFAULT_TENANT,
        source_uri: str = "",
        event_time_ms: int | None = None,
    ) -> Published:
        """Publish a file (a path) or bytes; returns once Kafka has it.

        A path's document id comes from its absolute path, so that a changed file is a new version of the same document;
        the id of bytes comes from their content. The version is the time in milliseconds unless it is given. Above
        ``inline_limit`` the bytes go into the blob store first.
        """
        data, name = await asyncio.to_thread(_read, media)
        is_inline = len(data) <= self._settings.inline_limit
        blob = None if is_inline else await self._blobs.aput(data, content_type or "application/octet-stream")
        return await self._publish(
            data if is_inline else None,
            blob,
            document_id=document_id or _document_id(media, data),
            version=version,
            content_type=content_type,
            source=source,
            tenant=tenant,
            source_uri=source_uri or name,
            event_time_ms=event_time_ms,
        )

    async def publish_claim(
        self,
        blob: BlobRef,
        *,
        document_id: str,
        version: int | None = None,
        content_type: str = "",
        source: str = "unknown",
        tenant: str = DEFAULT_TENANT,
        event_time_ms: int | None = None,
    ) -> Published:
        """Publish media that lies under one of the roots already, by its claim check."""
        return await self._publish(
            None,
            blob,
            document_id=document_id,
            version=version,
            content_type=content_type,
            source=source,
            tenant=tenant,
            source_uri=blob.uri,
            event_time_ms=event_time_ms,
        )

    async def _publish(
        self,
        data: bytes | None,
        blob: BlobRef | None,
        *,
        document_id: str,
        version: int | None,
        content_type: str,
        source: str,
        tenant: str,
        source_uri: str,
        event_time_ms: int | None,
    ) -> Published:
        now = wall_ms()
        event = MediaReceived(
            tenant=tenant,
            document_id=document_id,
            version=now if version is None else version,
            source=source,
            source_uri=source_uri,
            content_type=content_type,
            event_time_ms=now if event_time_ms is None else event_time_ms,
            trace=Trace(traceparent=new_traceparent()),
            data=data,
            blob=blob,
        )
        return await self._send(event, source_uri)

    async def progress(self, published: Iterable[Published], timeout_s: float = 600.0) -> AsyncIterator[Progress]:
        """How far each document that this client published is, until all are searchable or refused.

        Raises ``NoAnswer`` where nothing is heard for ``timeout_s``.
        """
        waiting = list(published)
        try:
            async for step in self._board.follow(waiting, timeout_s):
                yield step
        except TimeoutError:
            raise NoAnswer(
                f"nothing was heard of {len(waiting)} documents for {timeout_s:.0f} s: {waiting[0].name}, …",
                hint="`sensorium status` shows the lag of each stage",
            ) from None

    async def searchable(self, published: Sequence[Published], timeout_s: float = 600.0) -> list[Progress]:
        """Wait until all are searchable or refused; those that were refused, with the reason."""
        return [step async for step in self.progress(published, timeout_s) if step.failed]

    async def delete(self, document_id: str, *, tenant: str = DEFAULT_TENANT, version: int | None = None) -> Published:
        """Delete a document with all its versions up to now."""
        now = wall_ms() if version is None else version
        event = DocumentDeleted(
            tenant=tenant, document_id=document_id, version=now, trace=Trace(traceparent=new_traceparent())
        )
        return await self._send(event, document_id)

    async def ask(
        self,
        question: str = "",
        options: AskOptions | None = None,
        *,
        query_id: str | None = None,
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> AsyncIterator[StreamEvent]:
        """The answer stream, from its start to its terminal event. Raises ``NoAnswer`` after silence."""
        asked = await self._asked(question, options or AskOptions(), QueryStage.GENERATE, query_id)
        async for event in self._run(asked, timeout_s):
            yield event

    async def search(
        self,
        question: str = "",
        options: AskOptions | None = None,
        *,
        stage: QueryStage = QueryStage.REFINE,
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> list[Hit]:
        """Ranked chunks, best first, without generation. Raises ``QueryFailed``."""
        if stage is QueryStage.GENERATE:
            raise UsageError("a search ends before generation", hint="use ask, or the stage refine")
        asked = await self._asked(question, options or AskOptions(), stage, None)
        async for event in self._run(asked, timeout_s):
            if isinstance(event, HitsRanked):
                return list(event.hits)
            if isinstance(event, AnswerFailed):
                raise QueryFailed(f"{event.stage}: {event.reason}", hint=event.hint)
        raise NoAnswer("the search ended without a result")

    async def follow(self, query_id: str, timeout_s: float = ANSWER_TIMEOUT_S) -> AsyncIterator[StreamEvent]:
        """The answer stream of a query that was asked before, from its start, whenever that was."""
        consumer = await open_consumer(self._bootstrap, [ANSWERS_STREAMED])
        assembler = AnswerAssembler()
        try:
            if (moment := moment_of(query_id)) is not None:
                await _seek(consumer, moment - CLOCK_SLACK_MS)
            while not assembler.finished:
                try:
                    message = await asyncio.wait_for(consumer.getone(), timeout_s)
                except TimeoutError:
                    raise NoAnswer(f"nothing was heard of {query_id} for {timeout_s:.0f} s") from None
                if message.key != query_id.encode():
                    continue
                for event in _ready(assembler, decode(to_record(message))):
                    yield event
        finally:
            await consumer.stop()

    async def _send(self, event: MediaReceived | DocumentDeleted, name: str) -> Published:
        published = Published(
            tenant=event.tenant,
            document_id=event.document_id,
            version=event.version,
            source_uri=name,
            trace_id=event.trace.trace_id,
            is_inline=not (isinstance(event, MediaReceived) and event.blob),
        )
        await self._watch_ingestion()
        self._board.expect(published)
        await self._publisher.publish(event)
        return published

    async def _run(self, asked: QueryAsked, timeout_s: float) -> AsyncIterator[StreamEvent]:
        assembler = AnswerAssembler()
        tail = await self._tail(self._answers)
        async with tail.listen(lambda event: event.subject == asked.query_id) as events:
            await self._publisher.publish(asked)
            while not assembler.finished:
                try:
                    heard = await asyncio.wait_for(events.get(), timeout_s)
                except TimeoutError:
                    raise NoAnswer(
                        f"no answer to {asked.query_id} for {timeout_s:.0f} s",
                        hint="`sensorium status` shows which stage lags; the answer can be read later with follow",
                    ) from None
                for event in _ready(assembler, heard):
                    yield event

    async def _asked(self, question: str, options: AskOptions, until: QueryStage, query_id: str | None) -> QueryAsked:
        parts = (question.strip(), options.image, options.audio, options.video)
        if not any(part for part in parts):
            raise UsageError("the question has no parts", hint="give words, an image, an audio or a video")
        image, audio, video = [await self._media(part) for part in parts[1:]]
        return QueryAsked(
            query_id=query_id or new_query_id(),
            tenant=options.tenant,
            question=question,
            image=image,
            audio=audio,
            video=video,
            filters=Filters(
                modalities=options.modalities,
                sources=options.sources,
                document_ids=options.document_ids,
                since_ms=options.since_ms,
                until_ms=options.until_ms,
            ),
            limit=options.limit,
            until_stage=until,
            asked_ms=wall_ms(),
            trace=Trace(traceparent=new_traceparent()),
        )

    async def _media(self, media: MediaInput | None) -> QueryMedia | None:
        if media is None:
            return None
        data, _ = await asyncio.to_thread(_read, media)
        if len(data) > self._settings.inline_limit:
            return QueryMedia(blob=await self._blobs.aput(data, "application/octet-stream"))
        return QueryMedia(data=data)

    async def _tail(self, tail: Tail) -> Tail:
        """``tail``, started by the first who asks."""
        if tail not in self._tailing:
            self._tailing[tail] = asyncio.create_task(tail.start())
        await asyncio.shield(self._tailing[tail])
        return tail

    async def _watch_ingestion(self) -> None:
        """Note on the board what becomes of documents, from before the first of them is published."""
        tail = await self._tail(self._ingestion)
        if self._watching is None:
            self._watching = asyncio.create_task(self._note(tail))
            await asyncio.sleep(0)  # it listens from here on

    async def _note(self, tail: Tail) -> None:
        async with tail.listen(self._board.concerns) as events:
            while True:
                await self._board.take(await events.get())


async def _seek(consumer: object, moment_ms: int) -> None:
    """To the first records since ``moment_ms``, where the broker can tell; else the start stays."""
    assignment = consumer.assignment()  # type: ignore[attr-defined]  # aiokafka has no types
    offsets = await consumer.offsets_for_times(dict.fromkeys(assignment, moment_ms))  # type: ignore[attr-defined]
    for partition, found in offsets.items():
        if found is not None:
            consumer.seek(partition, found.offset)  # type: ignore[attr-defined]


def _ready(assembler: AnswerAssembler, event: Event) -> list[StreamEvent]:
    return list(assembler.take(event)) if isinstance(event, AnswerEvent) else []  # type: ignore[arg-type]


def _read(media: MediaInput) -> tuple[bytes, str]:
    """The bytes, and where they are from."""
    if isinstance(media, bytes):
        return media, ""
    path = Path(media)
    try:
        return path.read_bytes(), str(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint="give the path of a file") from error


def document_id_of(path: str | os.PathLike[str]) -> str:
    """The id that a file gets unless it is given another: of its absolute path."""
    return hashlib.sha256(str(Path(path).absolute()).encode()).hexdigest()[:32]


def _document_id(media: MediaInput, data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32] if isinstance(media, bytes) else document_id_of(media)


__all__ = [
    "TERMINAL",
    "AskOptions",
    "Client",
    "InvalidEvent",
    "NoAnswer",
    "Progress",
    "Published",
    "QueryFailed",
    "UsageError",
    "new_query_id",
]
