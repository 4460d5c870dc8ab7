"""Answer streams for a client: one consumer for any number of questions at a time, another for who comes late.

In: a query id. Out: the events of its stream, in order, to the terminal one. Raises ``NoAnswer``, which names the stage
that is silent, and ``TransientError`` where Kafka is away.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager

from aiokafka import AIOKafkaConsumer

from schemas.answers import StreamEvent
from schemas.base import Event
from streams.answers import AnswerAssembler
from streams.client_errors import NoAnswer
from streams.query_ids import moment_of
from streams.record import Record
from streams.stages import STAGES
from streams.tail import Tail, open_consumer, read_to_end, to_record
from streams.topics import ANSWERS_STREAMED, QUERIES_ASKED, QUERIES_REFINED, QUERIES_RERANKED, QUERIES_RETRIEVED, Topic
from streams.wire import decode
from workers.errors import InvalidEvent, SensoriumError, TransientError

CLOCK_SLACK_MS = 60_000
"""How far the clocks of two machines may be apart when the start of a query is looked for."""
GAP_S = 2.0
"""How long the end of an answer waits for what should have come before it."""
LOOK_S = 5.0
"""How long it may take to find out who is silent."""

QUERY_TOPICS = (QUERIES_ASKED, QUERIES_RETRIEVED, QUERIES_RERANKED, QUERIES_REFINED)
Heard = asyncio.Queue[StreamEvent | SensoriumError]


class AnswerReader:
    """Reads ``answers.streamed.v1``. A ``streams.tail.Listener``."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._tail = Tail(bootstrap, [ANSWERS_STREAMED], self)
        self._listeners: dict[bytes, list[Heard]] = {}

    async def stop(self) -> None:
        """Disconnect."""
        await self._tail.stop()

    async def run(
        self, query_id: str, ask: Callable[[], Awaitable[object]], timeout_s: float
    ) -> AsyncGenerator[StreamEvent, None]:
        """Listen, ``ask``, and give the answer stream."""
        await self._tail.start()
        with self._listening(query_id) as heard:
            await ask()
            async with aclosing(_in_order(lambda: _next(heard), timeout_s)) as events:
                try:
                    async for event in events:
                        yield event
                except TimeoutError:
                    raise await self._silence(query_id, timeout_s) from None

    async def follow(self, query_id: str, timeout_s: float) -> AsyncGenerator[StreamEvent, None]:
        """The answer stream of a query that was asked before, from its start, whenever that was."""
        consumer = await self._consumer(query_id, ANSWERS_STREAMED)
        try:
            async with aclosing(_in_order(lambda: _next_of(consumer, query_id), timeout_s)) as events:
                async for event in events:
                    yield event
        except TimeoutError:
            raise await self._silence(query_id, timeout_s) from None
        finally:
            await consumer.stop()

    def wants(self, record: Record) -> bool:
        return record.key in self._listeners

    def take(self, event: Event) -> None:
        if isinstance(event, StreamEvent):
            for heard in self._listeners.get(event.key.encode(), ()):
                heard.put_nowait(event)

    def fail(self, error: SensoriumError) -> None:
        for listeners in self._listeners.values():
            for heard in listeners:
                heard.put_nowait(error)

    @contextmanager
    def _listening(self, query_id: str) -> Iterator[Heard]:
        key, heard = query_id.encode(), Heard()
        self._listeners.setdefault(key, []).append(heard)
        try:
            yield heard
        finally:
            self._listeners[key].remove(heard)
            if not self._listeners[key]:
                del self._listeners[key]

    async def _consumer(self, query_id: str, *topics: Topic) -> AIOKafkaConsumer:
        moment = moment_of(query_id)
        since_ms = None if moment is None else moment - CLOCK_SLACK_MS
        return await open_consumer(self._bootstrap, topics, key=query_id, since_ms=since_ms)

    async def _silence(self, query_id: str, timeout_s: float) -> NoAnswer:
        """Who should have answered."""
        reason = f"no answer to {query_id} for {timeout_s:g} s"
        try:
            async with asyncio.timeout(LOOK_S):
                furthest = await self._furthest(query_id)
        except (TimeoutError, TransientError):
            return NoAnswer(f"{reason}: Kafka itself is silent", hint="is the broker running? see `sensorium status`")
        if furthest is None:
            return NoAnswer(f"{reason}: no such question is known", hint="ask it again")
        stage = next(spec.name for spec in STAGES.values() if spec.topic.name == furthest)
        return NoAnswer(
            f"{reason}: {stage} has not answered",
            hint="`sensorium status` shows its workers and its lag; Client.follow reads the answer later",
        )

    async def _furthest(self, query_id: str) -> str | None:
        """The last topic of the query pipeline that the query has reached."""
        consumer = await self._consumer(query_id, *QUERY_TOPICS)
        try:
            reached = {record.topic async for record in read_to_end(consumer) if record.key == query_id.encode()}
        finally:
            await consumer.stop()
        return next((topic.name for topic in reversed(QUERY_TOPICS) if topic.name in reached), None)


async def _in_order(hear: Callable[[], Awaitable[StreamEvent]], timeout_s: float) -> AsyncGenerator[StreamEvent, None]:
    """The stream, put together. Raises ``TimeoutError`` after ``timeout_s`` of silence."""
    assembler = AnswerAssembler()
    while not assembler.finished:
        lacks_only_what_is_lost = assembler.lacks_only_what_is_lost
        try:
            async with asyncio.timeout(min(GAP_S, timeout_s) if lacks_only_what_is_lost else timeout_s):
                event = await hear()
        except TimeoutError:
            if not lacks_only_what_is_lost:
                raise
            ready = assembler.give_up_the_gap()
        else:
            ready = assembler.take(event)
        for item in ready:
            yield item


async def _next(heard: Heard) -> StreamEvent:
    event = await heard.get()
    if isinstance(event, SensoriumError):
        raise event
    return event


async def _next_of(consumer: AIOKafkaConsumer, query_id: str) -> StreamEvent:
    key = query_id.encode()
    while True:
        message = await consumer.getone()
        if message.key != key:
            continue
        try:
            event = decode(to_record(message))
        except InvalidEvent:
            continue  # no event of ours; it may come from anybody
        if isinstance(event, StreamEvent):
            return event
