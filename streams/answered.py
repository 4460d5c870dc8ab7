"""Which queries have a completed answer already: so that none is answered twice.

Kafka delivers at least once: a crash between an answer and its commit, at this stage or at one before it, brings the
same query again. Before a query stage works on a query that is older than what it has seen itself, it reads once what
the answer topic holds since that query was asked, and leaves out those with an ``AnswerFinished`` or ``HitsRanked``.
Queries that were asked after the partitions came cost nothing. ``AnswerFailed`` does not count: a replayed dead letter
is to be answered.

Bounds: clocks may differ by ``SKEW_MS``, and a query that comes again more than ``LOOK_BACK_MS`` after its answer is
answered again, as a higher attempt. Raises ``TransientError`` where Kafka is away.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

import structlog

from schemas.answers import AnswerFinished, HitsRanked
from schemas.base import DEFAULT_TENANT, Event
from schemas.queries import QueryEvent
from streams.record import Record
from streams.tail import open_consumer, read_to_end
from streams.topics import ANSWERS_STREAMED
from workers.hits import Clock, wall_clock

log = structlog.get_logger()

SKEW_MS = 60_000
LOOK_BACK_MS = 3600_000
MOST = 100_000
"""Queries that are remembered."""

_COMPLETED = {AnswerFinished.ce_type.encode(), HitsRanked.ce_type.encode()}

Read = Callable[[int], AsyncGenerator[Record, None]]


class Answered:
    """The account of one query stage. ``read`` gives the records of the answer topic since a time."""

    def __init__(self, read: Read, now_ms: Clock = wall_clock, most: int = MOST) -> None:
        self._read = read
        self._most = most
        self._now_ms = now_ms
        self._known_since = 0
        self._ids: dict[str, int] = {}  # tenant/query_id: when it was answered
        self.assigned()

    def assigned(self) -> None:
        """The partitions are new: somebody else may have answered what they hold."""
        self._ids.clear()
        self._known_since = self._now_ms() + SKEW_MS

    async def among(self, queries: Sequence[tuple[Record, QueryEvent]]) -> list[bool]:
        """For each query, whether it has a completed answer, or stands before in ``queries``."""
        since = min((_asked_ms(record, event) for record, event in queries), default=self._known_since) - SKEW_MS
        since = max(since, self._now_ms() - LOOK_BACK_MS)
        if since < self._known_since:
            await self._look_back(since)
        names = [_name(event.tenant, event.query_id) for _, event in queries]
        return [name in self._ids or name in names[:position] for position, name in enumerate(names)]

    def add(self, event: Event) -> None:
        """An event was delivered."""
        if isinstance(event, AnswerFinished | HitsRanked):
            self._remember(_name(event.tenant, event.query_id), self._now_ms())

    async def _look_back(self, since: int) -> None:
        found = 0
        self._known_since = since
        async with aclosing(self._read(since)) as records:
            async for record in records:
                headers = dict(record.headers)
                if headers.get("ce_type") in _COMPLETED and record.key:
                    tenant = headers.get("ce_tenant") or DEFAULT_TENANT.encode()
                    self._remember(_name(tenant.decode(), record.key.decode()), record.timestamp_ms)
                    found += 1
        log.info("answers.looked_back", since_ms=since, answered=found)

    def _remember(self, name: str, at_ms: int) -> None:
        self._ids[name] = at_ms
        if len(self._ids) > self._most:
            oldest = next(iter(self._ids))
            self._known_since = max(self._known_since, self._ids.pop(oldest) + 1)


def _name(tenant: str, query_id: str) -> str:
    return f"{tenant}/{query_id}"


def _asked_ms(record: Record, event: QueryEvent) -> int:
    return min(event.trace.received_ms or record.timestamp_ms, record.timestamp_ms)


def answers_of(bootstrap: str) -> Read:
    """Reads the answer topic of a broker."""

    async def read(since_ms: int) -> AsyncGenerator[Record, None]:
        consumer = await open_consumer(bootstrap, [ANSWERS_STREAMED], since_ms=since_ms)
        try:
            async for record in read_to_end(consumer):
                yield record
        finally:
            await consumer.stop()

    return read
