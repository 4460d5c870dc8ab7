"""What becomes of an event that cannot be processed: a dead letter, an answer to who asked, and a cap on both.

Raises ``CapReached`` where a stage refuses more than ``most`` events within a minute *and* more than half of all that
it finishes: that is no bad input any more but a bad deploy, and the rest of the topic must not follow. Nothing of the
event that is one too many is sent or acknowledged.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import structlog

from schemas.answers import AnswerFailed
from schemas.base import Event
from schemas.generations import FIRST
from schemas.letters import DeadLetter
from schemas.queries import QueryEvent
from streams import metrics
from streams.deadletters import dead_letter, without_bytes
from streams.logs import event_ids
from streams.record import Record
from streams.wire import child
from workers.errors import InvalidEvent, SensoriumError

log = structlog.get_logger()

Send = Callable[[Event], Awaitable[Awaitable[Any]]]
"""Hands an event to the send buffer, in order; what it returns is awaited for the delivery.

Both steps raise ``InvalidEvent`` for an event that can never be sent, ``TransientError`` where the broker is away.
"""

Letters = list[asyncio.Task[None]]
"""Refusals of a batch that are being written. They are waited for before the batch may be acknowledged."""

MINUTE_S = 60.0


class Poisonous(InvalidEvent):
    """An event at which its stage, or the stage's process, fails again and again."""


class CapReached(SensoriumError):
    """A stage refuses so much that it must not go on."""


class LetterLost(SensoriumError):
    """A dead letter that no broker takes; the event must not be acknowledged."""


class Cap:
    """Counts what a stage finished and refused within the last minute. ``most`` 0: no cap."""

    def __init__(self, most: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._finished: deque[tuple[float, int]] = deque()
        self._refused: deque[tuple[float, int]] = deque()

    def finished(self, events: int) -> None:
        """A batch is done, the refused events in it included."""
        self._finished.append((self._clock(), events))

    def refuse(self, stage: str) -> None:
        """One more is to be refused. Raises ``CapReached``."""
        refused = 1 + _within_a_minute(self._refused, self._clock())
        finished = _within_a_minute(self._finished, self._clock())
        if self._most and refused > self._most and 2 * refused > max(finished, refused):
            raise CapReached(
                f"{stage} refused {refused - 1} of its last {max(finished, refused - 1)} events within a minute",
                hint=f"see `sensorium dead-letters list --stage {stage}`, mend the cause, start the worker again, "
                f"then `sensorium dead-letters replay --stage {stage}`; SENSORIUM_DEAD_LETTER_CAP sets the limit",
            )
        self._refused.append((self._clock(), 1))


def _within_a_minute(counts: deque[tuple[float, int]], now: float) -> int:
    while counts and counts[0][0] < now - MINUTE_S:
        counts.popleft()
    return sum(count for _, count in counts)


@asynccontextmanager
async def written() -> AsyncIterator[Letters]:
    """Waits for the letters that are begun inside, also where the batch fails. Raises what one of them raised."""
    letters: Letters = []
    try:
        try:
            yield letters
        except Exception:  # such as CapReached, which counts them as refused
            await asyncio.gather(*letters, return_exceptions=True)
            raise
        await asyncio.gather(*letters)
    finally:
        for letter in letters:
            letter.cancel()
        await asyncio.gather(*letters, return_exceptions=True)


class Refusals:
    """The dead letters of one stage."""

    def __init__(self, stage: str, send: Send, now_ms: Callable[[], int], generation: str = FIRST) -> None:
        self._stage = stage
        self._generation = generation
        self._send = send
        self._now_ms = now_ms

    async def refuse(self, record: Record, event: Event | None, error: InvalidEvent, attempts: int = 1) -> None:
        """Dead-letter a record, tell its asker, and wait until both are durable. Raises ``LetterLost``."""
        now = self._now_ms()
        letter = dead_letter(record, error, stage=self._stage, now_ms=now, event=event, attempts=attempts)
        letter = letter.model_copy(update={"generation": self._generation})
        metrics.dead_lettered(self._stage, letter.error)
        ids = event_ids([event] if event else [])
        log.warning(
            "event.refused", stage=self._stage, about=letter.about, error=letter.error, reason=error.reason, **ids
        )
        try:
            await self._deliver(letter)
            if isinstance(event, QueryEvent):
                await (await self._send(self._failed(event, error, now)))
        except InvalidEvent as fault:
            raise LetterLost(f"the dead letter about {letter.about} cannot be sent: {fault.reason}") from fault

    async def _deliver(self, letter: DeadLetter) -> None:
        try:
            await (await self._send(letter))
        except InvalidEvent:  # too large for this broker
            await (await self._send(without_bytes(letter)))

    def _failed(self, event: QueryEvent, error: InvalidEvent, now: int) -> AnswerFailed:
        return AnswerFailed(
            query_id=event.query_id,
            tenant=event.tenant,
            trace=child(event.trace, self._stage, now),
            attempt=max(1, now),  # like the generator's: the latest counts
            seq=0,
            at_ms=now,
            stage=self._stage,
            reason=error.reason,
            hint=error.hint,
        )
