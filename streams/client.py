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
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from typing import Self

from pydantic import BaseModel, ConfigDict

from schemas.answers import AnswerFailed, Hit, HitsRanked, StreamEvent
from schemas.base import DEFAULT_TENANT, Trace
from schemas.media import BlobRef, DocumentDeleted, DocumentsDeleted, MediaReceived, Modality, Scope
from schemas.queries import Filters, QueryAsked, QueryMedia, QueryStage
from streams import runtime
from streams.client_answers import AnswerReader
from streams.client_errors import NoAnswer, QueryFailed, UsageError
from streams.client_media import MediaInput, default_document_id, document_id_of, read_media
from streams.gate import switches_of
from streams.generations import last_used
from streams.media_wire import ALL_SOURCES, MediaEvent
from streams.progress import Progress, ProgressBoard, Published
from streams.publisher import Publisher
from streams.query_ids import new_query_id
from streams.settings import Settings
from streams.shell import wall_ms
from streams.tail import Tail
from streams.tenancy import signer
from streams.topics import DEAD_LETTERS, PER_GENERATION, of_generation
from streams.wire import new_traceparent
from workers.store.blobs import BlobStore

READY_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 120.0
UNKNOWN_TYPE = "application/octet-stream"


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
    generation: str = ""
    """The index generation to ask; empty: the one in use."""

    def filters(self) -> Filters:
        """What the store is to leave out."""
        return Filters(
            modalities=self.modalities,
            sources=self.sources,
            document_ids=self.document_ids,
            since_ms=self.since_ms,
            until_ms=self.until_ms,
        )


class Client:
    """One connection to a running system, for any number of questions and publications at the same time."""

    def __init__(self, settings: Settings, *, ready_timeout_s: float = READY_TIMEOUT_S) -> None:
        self._settings = settings
        self._ready_timeout_s = ready_timeout_s

    async def __aenter__(self) -> Self:
        """Connect; waits while ``sensorium up`` is still starting. Raises ``NotRunning``."""
        addresses = await runtime.wait_ready(self._settings, self._ready_timeout_s)
        self._blobs = BlobStore(addresses.blobs, self._settings.media_roots)
        secret = self._settings.producer_secret.get_secret_value()
        self._publisher = Publisher(addresses.kafka, sign=signer(self._settings.producer, secret))
        self._answers = AnswerReader(addresses.kafka)
        self._board = ProgressBoard()
        self._kafka = addresses.kafka
        self._ingestion: Tail | None = None
        self._listening = asyncio.Lock()
        await self._publisher.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        await self._answers.stop()
        if self._ingestion:
            await self._ingestion.stop()
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
        data, name = await asyncio.to_thread(read_media, media, self._settings.limits.max_bytes)
        is_inline = len(data) <= self._settings.inline_limit
        now = wall_ms()
        event = MediaReceived(
            tenant=tenant,
            document_id=document_id or default_document_id(media, data),
            version=now if version is None else version,
            source=source,
            source_uri=source_uri or name,
            content_type=content_type,
            event_time_ms=now if event_time_ms is None else event_time_ms,
            trace=Trace(traceparent=new_traceparent()),
            data=data if is_inline else None,
            blob=None if is_inline else await self._blobs.aput(data, content_type or UNKNOWN_TYPE),
        )
        return await self._send(event, event.source_uri)

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
        now = wall_ms()
        event = MediaReceived(
            tenant=tenant,
            document_id=document_id,
            version=now if version is None else version,
            source=source,
            source_uri=blob.uri,
            content_type=content_type,
            event_time_ms=now if event_time_ms is None else event_time_ms,
            trace=Trace(traceparent=new_traceparent()),
            blob=blob,
        )
        return await self._send(event, blob.uri)

    async def delete(self, document_id: str, *, tenant: str = DEFAULT_TENANT, version: int | None = None) -> Published:
        """Delete a document with all its versions up to now, or up to ``version``."""
        event = DocumentDeleted(
            tenant=tenant,
            document_id=document_id,
            version=wall_ms() if version is None else version,
            trace=Trace(traceparent=new_traceparent()),
        )
        return await self._send(event, document_id)

    async def delete_all(self, source: str = "", *, tenant: str = DEFAULT_TENANT) -> Published:
        """Delete all that the tenant has from ``source``, or all that it has: whatever Kafka has received by now.

        Documents that are still on their way go, too; what is published afterwards stays.
        """
        event = DocumentsDeleted(
            tenant=tenant,
            document_id=source or ALL_SOURCES,
            version=wall_ms(),
            scope=Scope(source=source),
            trace=Trace(traceparent=new_traceparent()),
        )
        return await self._send(event, f"all of {source or tenant}")

    async def progress(
        self, published: Iterable[Published], timeout_s: float = 600.0
    ) -> AsyncGenerator[Progress, None]:
        """How far each document that this client published is, until each is searchable, deleted or refused.

        Raises ``NoAnswer``, which names the stage that is silent, where nothing is heard for ``timeout_s``.
        """
        async for step in self._board.follow(published, timeout_s):
            yield step

    async def searchable(self, published: Sequence[Published], timeout_s: float = 600.0) -> list[Progress]:
        """Wait until all are searchable, deleted or refused; those that were refused, with the reason."""
        return [step async for step in self.progress(published, timeout_s) if step.failed]

    async def ask(
        self,
        question: str = "",
        options: AskOptions | None = None,
        *,
        query_id: str | None = None,
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> AsyncGenerator[StreamEvent, None]:
        """The answer stream, from its start to its terminal event. Raises ``NoAnswer`` where nothing comes in time."""
        asked = await self._asked(question, options or AskOptions(), QueryStage.GENERATE, query_id)
        async with aclosing(self._run(asked, timeout_s)) as events:
            async for event in events:
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
        async with aclosing(self._run(asked, timeout_s)) as events:
            async for event in events:
                if isinstance(event, HitsRanked):
                    return list(event.hits)
                if isinstance(event, AnswerFailed):
                    raise QueryFailed(f"{event.stage}: {event.reason}", hint=event.hint)
        raise NoAnswer("the search ended without a result")

    async def follow(self, query_id: str, timeout_s: float = ANSWER_TIMEOUT_S) -> AsyncGenerator[StreamEvent, None]:
        """The answer stream of a query that was asked before, from its start, whenever that was."""
        async with aclosing(self._answers.follow(query_id, timeout_s)) as events:
            async for event in events:
                yield event

    def _run(self, asked: QueryAsked, timeout_s: float) -> AsyncGenerator[StreamEvent, None]:
        return self._answers.run(asked.query_id, lambda: self._publisher.publish(asked), timeout_s)

    async def _send(self, event: MediaEvent, name: str) -> Published:
        published = Published(
            tenant=event.tenant,
            document_id=event.document_id,
            version=event.version,
            source_uri=name,
            trace_id=event.trace.trace_id,
            is_inline=not (isinstance(event, MediaReceived) and event.blob),
        )
        await self._listen()  # before it is published, so that nothing of what follows is missed
        self._board.expect(published)
        await self._publisher.publish(event)
        self._board.stored(published)
        return published

    async def _listen(self) -> None:
        """Hear from now on what becomes of documents, in the index generation that is in use."""
        async with self._listening:
            if self._ingestion is None:
                switches = await switches_of(self._kafka)()
                generation = switches[-1].generation if switches else last_used(self._settings)
                self._board = ProgressBoard(generation)
                topics = [of_generation(topic, generation) for topic in PER_GENERATION]
                self._ingestion = Tail(self._kafka, [*topics, DEAD_LETTERS], self._board)
        await self._ingestion.start()

    async def _asked(self, question: str, options: AskOptions, until: QueryStage, query_id: str | None) -> QueryAsked:
        if not question.strip() and not any((options.image, options.audio, options.video)):
            raise UsageError("the question has no parts", hint="give words, an image, an audio or a video")
        return QueryAsked(
            query_id=query_id or new_query_id(),
            tenant=options.tenant,
            question=question,
            image=await self._media(options.image),
            audio=await self._media(options.audio),
            video=await self._media(options.video),
            filters=options.filters(),
            limit=options.limit,
            generation=options.generation,
            until_stage=until,
            asked_ms=wall_ms(),
            trace=Trace(traceparent=new_traceparent()),
        )

    async def _media(self, media: MediaInput | None) -> QueryMedia | None:
        if media is None:
            return None
        data, _ = await asyncio.to_thread(read_media, media, self._settings.limits.max_bytes)
        if len(data) > self._settings.inline_limit:
            return QueryMedia(blob=await self._blobs.aput(data, UNKNOWN_TYPE))
        return QueryMedia(data=data)


__all__ = ["AskOptions", "Client", "NoAnswer", "Progress", "Published", "QueryFailed", "UsageError", "document_id_of"]
