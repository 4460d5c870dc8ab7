"""The small shell around a stage that makes at-least-once true: batches in, deliveries awaited, then acknowledged.

A record is acknowledged, in order, only after all that its stage made of it is durable, in Kafka or in the store.
The type of an error decides the fate of the event (``workers/errors.py``): a refused event becomes a dead letter, and
for a query an ``AnswerFailed`` as well, before it is acknowledged; a transient error is tried again with backoff and
jitter; anything else, and a transient error that stays, leaves ``run`` and so ends the process before the ack.

Nothing here knows Faust: ``streams/app.py`` feeds ``put`` and gives each record its ``ack``.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

import stamina
import structlog

from schemas.answers import AnswerFailed
from schemas.base import Event
from schemas.media import DocumentEvent
from schemas.queries import QueryEvent
from streams import metrics
from streams.deadletters import dead_letter
from streams.faultpoints import Reach, nowhere
from streams.record import Record
from streams.wire import child, decode
from workers.errors import InvalidEvent, TransientError
from workers.stage import Stage

log = structlog.get_logger()

Send = Callable[[Event], Awaitable[Awaitable[Any]]]
"""Hands an event to the send buffer, in order; what it returns is awaited for the delivery.

Both steps raise ``InvalidEvent`` for an event that can never be sent, ``TransientError`` where the broker is away.
"""

MAX_QUEUED_BYTES = 64 * 1024 * 1024
IN_FLIGHT_DELIVERIES = 64
IDS_ON_A_LINE = 3


def wall_ms() -> int:
    """Wall clock, milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Received:
    """A record and what acknowledges it."""

    record: Record
    ack: Callable[[], object]


@dataclass(frozen=True, slots=True, eq=False)
class _Open:
    """A decoded event of the batch that still has to be processed."""

    received: Received
    event: Event


Pending = dict[int, _Open]
"""What is left of a batch, by position."""


class Shell:
    """Runs one stage. ``put`` blocks while the buffer is full, by count or by bytes, and so holds the consumer back."""

    def __init__(
        self,
        stage: Stage,
        send: Send,
        *,
        batch_size: int,
        batch_wait_s: float,
        retries: int,
        now_ms: Callable[[], int] = wall_ms,
        reach: Reach = nowhere,
    ) -> None:
        self.stage = stage
        self.batch_size = batch_size
        self._send = send
        self._batch_wait_s = batch_wait_s
        self._retries = retries
        self._now_ms = now_ms
        self._reach = reach
        self._queue: deque[Received] = deque()
        self._queued_bytes = 0
        self._in_flight = 0
        self._changed = asyncio.Condition()
        self._paused = False
        self._closing = False

    async def put(self, received: Received) -> None:
        """Queue a record. After ``close`` it waits for ever: the record stays unacknowledged and comes again."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._has_room() or self._paused)
            if self._paused:
                return  # its partition goes: whoever gets it reads it again
            self._queue.append(received)
            self._queued_bytes += received.record.size
            self._changed.notify_all()

    async def pause(self, within_s: float) -> None:
        """The partitions go: drop what is queued and what comes, wait for the batch in flight, at most ``within_s``.

        A batch that takes longer is finished all the same, and done again by whoever gets the partitions.
        """
        async with self._changed:
            self._paused = True
            self._drop_queue()
            with suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._changed.wait_for(lambda: not self._in_flight)

    def resume(self) -> None:
        """There are partitions again."""
        self._paused = False

    async def close(self) -> None:
        """Take nothing new; ``run`` returns after the batch in flight, what is queued is left for the next worker."""
        async with self._changed:
            self._closing = True
            self._drop_queue()

    async def run(self) -> None:
        """Process batches until ``close``. Raises whatever must end the process; nothing of that batch is acked."""
        while batch := await self._next_batch():
            started = time.perf_counter()
            await self._handle(batch)
            for received in batch:
                received.ack()
            self._reach("acked")
            metrics.batch_done(self.stage.name, len(batch), time.perf_counter() - started)

    def _has_room(self) -> bool:
        if self._closing:
            return False
        return not self._queue or (len(self._queue) < 2 * self.batch_size and self._queued_bytes < MAX_QUEUED_BYTES)

    def _drop_queue(self) -> None:
        self._queue.clear()
        self._queued_bytes = 0
        self._changed.notify_all()

    async def _next_batch(self) -> list[Received]:
        """What is queued, at most a batch; a batch that is not full waits a moment for more. Empty: closed."""
        async with self._changed:
            self._in_flight = 0
            self._changed.notify_all()
            await self._changed.wait_for(lambda: self._queue or self._closing)
            if len(self._queue) < self.batch_size and self._batch_wait_s:
                with suppress(TimeoutError):  # the moment is over: what is there is the batch
                    async with asyncio.timeout(self._batch_wait_s):
                        await self._changed.wait_for(lambda: len(self._queue) >= self.batch_size or self._closing)
                await self._changed.wait_for(lambda: self._queue or self._closing)  # a pause may have emptied it
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), self.batch_size))]
            self._in_flight = len(batch)
            self._queued_bytes -= sum(received.record.size for received in batch)
            self._changed.notify_all()
            return batch

    async def _handle(self, batch: Sequence[Received]) -> None:
        """Everything that a batch needs before its records may be acknowledged."""
        pending: Pending = {}
        for position, received in enumerate(batch):
            try:
                pending[position] = _Open(received, decode(received.record))
            except InvalidEvent as error:
                await self._refuse(received, None, error)
        with structlog.contextvars.bound_contextvars(
            stage=self.stage.name, **_ids(item.event for item in pending.values())
        ):
            try:
                await self._process_patiently(pending)
            except Exception:
                log.exception("batch.failed", events=len(pending))  # the ids of the events are on this line
                raise
        for item in pending.values():
            log.info("event.done", stage=self.stage.name, **_ids([item.event]))

    async def _process_patiently(self, pending: Pending) -> None:
        async for attempt in stamina.retry_context(
            on=TransientError, attempts=self._retries, timeout=None, wait_initial=0.2, wait_max=20.0
        ):
            with attempt:
                if attempt.num > 1:
                    metrics.retried(self.stage.name, len(pending))
                await self._process(pending)

    async def _process(self, pending: Pending) -> None:
        """One attempt at what is pending; a refused event leaves ``pending``, so that it is refused once only."""
        if not pending:
            return
        positions = list(pending)
        deliveries: deque[tuple[int, Awaitable[Any]]] = deque()
        has_effect = False
        self._reach("consumed")
        async with aclosing(self.stage.process([pending[position].event for position in positions])) as outputs:
            async for output in outputs:
                if not has_effect:
                    has_effect = True
                    self._reach("effect")
                position = positions[output.origin]
                if position not in pending:
                    continue
                if isinstance(output.result, InvalidEvent):
                    await self._drop(pending, position, output.result)
                    continue
                try:
                    deliveries.append((position, await self._forward(pending[position].event, output.result)))
                except InvalidEvent as error:
                    await self._drop(pending, position, error)
                if len(deliveries) > IN_FLIGHT_DELIVERIES:
                    await self._delivered(pending, *deliveries.popleft())
        self._reach("sent")
        for delivery in deliveries:
            await self._delivered(pending, *delivery)
        self._reach("published")

    async def _delivered(self, pending: Pending, position: int, delivery: Awaitable[Any]) -> None:
        try:
            await delivery
        except InvalidEvent as error:
            await self._drop(pending, position, error)

    async def _drop(self, pending: Pending, position: int, error: InvalidEvent) -> None:
        if item := pending.pop(position, None):
            await self._refuse(item.received, item.event, error)

    async def _forward(self, origin: Event, event: Event) -> Awaitable[Any]:
        """Send what came of ``origin``, one hop further in its trace."""
        now = self._now_ms()
        metrics.sent(self.stage.name, type(event).__name__, age_ms=now - origin.trace.received_ms)
        trace = child(origin.trace, self.stage.name, now)
        return await self._send(event.model_copy(update={"trace": trace, "tenant": origin.tenant}))

    async def _refuse(self, received: Received, event: Event | None, error: InvalidEvent) -> None:
        """Dead-letter a record, tell its asker, and wait until both are durable."""
        now = self._now_ms()
        letter = dead_letter(received.record, error, stage=self.stage.name, now_ms=now, event=event)
        metrics.dead_lettered(self.stage.name, letter.error)
        log.warning(
            "event.refused",
            stage=self.stage.name,
            about=letter.about,
            error=letter.error,
            reason=error.reason,
            **_ids([event] if event else []),
        )
        deliveries = [await self._send(letter)]
        if isinstance(event, QueryEvent):
            failed = AnswerFailed(
                query_id=event.query_id,
                tenant=event.tenant,
                trace=child(event.trace, self.stage.name, now),
                attempt=max(1, now),  # like the generator's: the latest counts
                seq=0,
                at_ms=now,
                stage=self.stage.name,
                reason=error.reason,
                hint=error.hint,
            )
            deliveries.append(await self._send(failed))
        for delivery in deliveries:
            await delivery


def _ids(events: Iterable[Event]) -> dict[str, str]:
    """What a log line names: documents, queries and traces, the first few of them."""
    ids: dict[str, list[str]] = {}
    for event in events:
        if isinstance(event, DocumentEvent):
            ids.setdefault("document_id", []).append(event.document_id)
        elif isinstance(event, QueryEvent):
            ids.setdefault("query_id", []).append(event.query_id)
        ids.setdefault("trace_id", []).append(event.trace.traceparent[3:35])
    return {name: _few(values) for name, values in ids.items()}


def _few(values: list[str]) -> str:
    rest = len(values) - IDS_ON_A_LINE
    return " ".join(values[:IDS_ON_A_LINE]) + (f" +{rest}" if rest > 0 else "")
