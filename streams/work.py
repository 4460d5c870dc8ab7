"""One batch, from its records to the moment at which all of them may be acknowledged.

The type of an error decides the fate of the event (``workers/errors.py``):

- refused (``InvalidEvent``): a dead letter, and for a query an ``AnswerFailed`` as well;
- ``TransientError``: a part is away. The batch keeps its place and is tried again until the part is back, with backoff
  and jitter;
- anything else: the batch is halved until the event at fault is alone; that one is tried ``attempts`` times and then
  dead-lettered. An event at which the *process* dies is known from the ledger (``streams/ledger.py``): it is tried
  alone and dead-lettered after ``deaths`` of them.

Raises ``CapReached`` where the stage refuses too much, ``GivenUp`` where the partitions went or the worker closes
meanwhile; then nothing of the batch may be acknowledged.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import structlog

from schemas.base import Event
from schemas.queries import QueryEvent
from streams import metrics
from streams.answered import Answered
from streams.intake import Received
from streams.logs import event_ids
from streams.parts import Parts, Rules
from streams.record import Record
from streams.refusals import CapReached, LetterLost, Letters, Poisonous, Refusals, Send, written
from streams.wire import carried, child, decode
from workers.errors import InvalidEvent, TransientError
from workers.stage import Stage

log = structlog.get_logger()

IN_FLIGHT_DELIVERIES = 64
_POISON_HINT = "the worker's log tells more; mend the stage, then `sensorium dead-letters replay`"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class _Open:
    """A decoded event of the batch that still has to be processed."""

    received: Received
    event: Event
    letters: Letters


Pending = dict[int, _Open]
"""What is left of a batch, by position."""


class GivenUp(Exception):
    """The work is left to whoever gets the partitions."""


_NOT_OF_THE_EVENT = (GivenUp, CapReached, LetterLost)


class Work:
    """Does the batches of one stage. ``is_ours`` says whether what was received may still be finished here,
    ``may_wait`` whether there is time to wait for a part that is away."""

    def __init__(
        self,
        stage: Stage,
        send: Send,
        rules: Rules,
        parts: Parts,
        *,
        is_ours: Callable[[Received], bool],
        may_wait: Callable[[], bool],
    ) -> None:
        self._stage = stage
        self._send = send
        self._rules = rules
        self._parts = parts
        self._is_ours = is_ours
        self._may_wait = may_wait
        self._refusals = Refusals(stage.name, send, parts.now_ms, parts.generation)

    def stands_alone(self, record: Record) -> bool:
        """Whether a process died while it worked on this record."""
        return self._parts.ledger is not None and self._parts.ledger.is_suspect(record)

    async def do(self, batch: Sequence[Received]) -> None:
        """Everything that a batch needs before its records may be acknowledged. A suspect is a batch of its own."""
        first, ledger = batch[0].record, self._parts.ledger
        if ledger is None or not ledger.is_suspect(first):
            await self._do(batch)
            return
        deaths = ledger.deaths(first)
        if deaths < self._rules.deaths:
            ledger.attempt(first)
            await self._do(batch)
        else:
            reason = f"{deaths} worker processes died while {self._stage.name} worked on it alone"
            async with written() as letters:
                self._refuse(letters, batch[0], _readable(first), Poisonous(reason, hint=_POISON_HINT), deaths)
        ledger.settle(first)

    async def _do(self, batch: Sequence[Received]) -> None:
        async with written() as letters:
            pending = self._decoded(batch, letters)
            if self._parts.answered and pending:
                await self._leave_out_answered(pending, self._parts.answered)
            await self._settle(pending)
        for item in pending.values():
            log.info("event.done", stage=self._stage.name, **event_ids([item.event]))
        self._parts.cap.finished(len(batch))

    def _decoded(self, batch: Sequence[Received], letters: Letters) -> Pending:
        pending: Pending = {}
        for position, received in enumerate(batch):
            event: Event | None = None
            try:
                event = decode(received.record)
                self._parts.check(received.record, event)
                pending[position] = _Open(received, event, letters)
            except InvalidEvent as error:
                # A question that may be forged must not end the answer to the real one of its id.
                self._refuse(letters, received, None if isinstance(event, QueryEvent) else event, error)
            except Exception as fault:  # a hole in the codec must not hold up the partition
                log.exception("record.unreadable", topic=received.record.topic, offset=received.record.offset)
                unreadable = Poisonous(f"reading it failed: {fault!r}", hint=_POISON_HINT)
                self._refuse(letters, received, None, unreadable)
        return pending

    async def _leave_out_answered(self, pending: Pending, answered: Answered) -> None:
        """Queries that have a completed answer get no other."""
        queries = [
            (position, item.received.record, item.event)
            for position, item in pending.items()
            if isinstance(item.event, QueryEvent)
        ]
        asked = [(record, event) for _, record, event in queries]
        completed = await self._patiently(lambda: answered.among(asked))
        for (position, _, event), is_completed in zip(queries, completed, strict=True):
            if is_completed:
                del pending[position]
                log.info("query.answered_before", stage=self._stage.name, query_id=event.query_id)

    async def _settle(self, pending: Pending) -> None:
        """Process what is pending. What fails unexpectedly is narrowed down to the event that is at fault."""
        ids = event_ids(item.event for item in pending.values())
        with structlog.contextvars.bound_contextvars(stage=self._stage.name, **ids):
            try:
                await self._patiently(partial(self._attempt, pending))
            except _NOT_OF_THE_EVENT:
                raise
            except Exception as fault:  # of the stage, at one of these events: they are tried apart
                log.exception("batch.failed", events=len(pending))  # the ids of the events are on this line
                if len(pending) == 1:
                    await self._insist(pending, fault)
                    return
                halves = _halves(pending)
                pending.clear()
                for half in halves:
                    await self._settle(half)
                    pending |= half

    async def _insist(self, pending: Pending, fault: Exception) -> None:
        """One event at which the stage fails: a few more attempts, then a dead letter."""
        [position] = pending
        for number in range(2, self._rules.attempts + 1):
            await self._parts.back_off(number - 1)
            metrics.retried(self._stage.name, 1)
            try:
                await self._patiently(partial(self._attempt, pending))
            except _NOT_OF_THE_EVENT:
                raise
            except Exception as again:  # counted, and told by the dead letter
                log.warning("event.failed", attempt=number, error=repr(again))
                fault = again
            else:
                return
        reason = f"{self._stage.name} failed at it {self._rules.attempts} times: {fault!r}"
        self._drop(pending, position, Poisonous(reason[:1000], hint=_POISON_HINT), self._rules.attempts)

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do ``work`` again until the parts that it needs are there. Raises ``GivenUp`` where there is no time."""
        waits = 0
        while True:
            try:
                result = await work()
            except TransientError as error:
                if not self._may_wait():
                    raise GivenUp from error
                waits += 1
                log.warning("stage.waits", stage=self._stage.name, reason=error.reason, hint=error.hint, times=waits)
                metrics.retried(self._stage.name, 1)
                self._parts.on_trouble(error.reason)
                await self._parts.back_off(waits)
            else:
                if waits:
                    self._parts.on_trouble("")
                return result

    async def _attempt(self, pending: Pending) -> None:
        """One attempt at what is pending; a refused event leaves ``pending``, so that it is refused once only."""
        if not pending:
            return
        reach, positions, is_first = self._parts.reach, list(pending), True
        deliveries: deque[tuple[int, Event, Awaitable[Any]]] = deque()
        reach("consumed")
        async with aclosing(self._stage.process([pending[position].event for position in positions])) as outputs:
            async for output in outputs:
                if is_first:
                    reach("effect")
                    is_first = False
                if sent := await self._send_on(pending, positions[output.origin], output.result):
                    deliveries.append(sent)
                if len(deliveries) > IN_FLIGHT_DELIVERIES:
                    await self._delivered(pending, *deliveries.popleft())
        reach("sent")
        while deliveries:
            await self._delivered(pending, *deliveries.popleft())
        reach("published")

    async def _send_on(
        self, pending: Pending, position: int, result: Event | InvalidEvent
    ) -> tuple[int, Event, Awaitable[Any]] | None:
        """Send what came of the event at ``position``, or refuse it."""
        if position not in pending:
            return None
        if isinstance(result, InvalidEvent):
            self._drop(pending, position, result)
            return None
        item = pending[position]
        if not self._is_ours(item.received):
            raise GivenUp
        onward = self._onward(item.event, result)
        try:
            return position, onward, await self._send(onward)
        except InvalidEvent as error:
            self._drop(pending, position, error)
            return None

    async def _delivered(self, pending: Pending, position: int, event: Event, delivery: Awaitable[Any]) -> None:
        try:
            await delivery
        except InvalidEvent as error:
            self._drop(pending, position, error)
        else:
            if self._parts.answered:
                self._parts.answered.add(event)

    def _onward(self, origin: Event, event: Event) -> Event:
        """``event`` with the tenant, the trace and the unknown fields of what it came from."""
        now = self._parts.now_ms()
        metrics.sent(self._stage.name, type(event).__name__, age_ms=now - origin.trace.received_ms)
        trace = child(origin.trace, self._stage.name, now)
        return carried(origin, event).model_copy(update={"trace": trace, "tenant": origin.tenant})

    def _drop(self, pending: Pending, position: int, error: InvalidEvent, attempts: int = 1) -> None:
        if item := pending.pop(position, None):
            self._refuse(item.letters, item.received, item.event, error, attempts)

    def _refuse(
        self, letters: Letters, received: Received, event: Event | None, error: InvalidEvent, attempts: int = 1
    ) -> None:
        """Dead-letter a record and tell its asker, while the others of its batch go on."""
        if not self._is_ours(received):
            raise GivenUp
        self._parts.cap.refuse(self._stage.name)
        refuse = partial(self._refusals.refuse, received.record, event, error, attempts)
        letters.append(asyncio.create_task(self._patiently(refuse), name="refusal"))


def _halves(pending: Pending) -> list[Pending]:
    items = list(pending.items())
    middle = len(items) // 2
    return [dict(half) for half in (items[:middle], items[middle:]) if half]


def _readable(record: Record) -> Event | None:
    """What ``record`` holds, as far as that can be read."""
    try:
        return decode(record)
    except InvalidEvent:
        return None
