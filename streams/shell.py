"""The small shell around a stage that makes at-least-once true: batches in, deliveries awaited, then acknowledged.

A record is acknowledged, in the order of its partition, only after all that its stage made of it is durable, in Kafka
or in the store. ``streams/work.py`` decides what becomes of events that fail; what leaves ``run``, as ``CapReached``
does, must end the process, and nothing of that batch is acknowledged.

Nothing here knows Faust: ``streams/app.py`` feeds ``put`` and gives each record its ``ack``.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import structlog

from streams import metrics
from streams.intake import Intake, Received, tenant_of
from streams.parts import Parts, Rules, wall_ms
from streams.refusals import Send
from streams.work import GivenUp, Work
from workers.stage import Stage

__all__ = ["Parts", "Received", "Rules", "Shell", "wall_ms"]

log = structlog.get_logger()

LOOK_AHEAD = 256
"""Records that wait beyond two batches, so that a tenant behind a busy one is seen."""


class Shell:
    """Runs one stage. ``put`` blocks while the buffer is full, by count or by bytes, and so holds the consumer back.

    With more than one lane, a batch is of one tenant, and no two lanes work for the same: the long work of one tenant
    holds up nobody else.
    """

    def __init__(self, stage: Stage, send: Send, rules: Rules, parts: Parts | None = None) -> None:
        self.stage = stage
        self.batch_size = rules.batch_size
        self._rules = rules
        self._parts = parts or Parts()
        self._intake = Intake(2 * rules.batch_size + LOOK_AHEAD)
        self._work = Work(stage, send, rules, self._parts, is_ours=self._is_ours, may_wait=self._may_wait)
        self._busy: dict[int, str] = {}  # lanes at work, and for whom
        self._changed = asyncio.Condition()
        self._paused = False
        self._closing = False

    async def put(self, received: Received) -> None:
        """Queue a record. After ``close`` it waits for ever: the record stays unacknowledged and comes again."""
        is_ours = self._parts.gate is None or await self._parts.gate.admits(received.record)
        async with self._changed:
            await self._changed.wait_for(lambda: self._has_room() or self._paused)
            if self._paused:
                return  # its partition goes: whoever gets it reads it again
            (self._intake.add if is_ours else self._intake.pass_by)(received)
            self._changed.notify_all()

    async def room(self, within_s: float) -> bool:
        """Wait until there is room, at most ``within_s``; whether there is."""
        async with self._changed:
            with suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._changed.wait_for(self._has_room)
            return self._has_room()

    async def pause(self, within_s: float) -> None:
        """The partitions go: drop what is queued and what comes, wait for the work in flight, at most ``within_s``.

        Work that takes longer is given up as soon as it would send something: whoever gets the partitions does it.
        """
        async with self._changed:
            self._paused = True
            self._intake.drop_waiting()
            self._changed.notify_all()
            with suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._changed.wait_for(lambda: not self._busy)

    def resume(self) -> None:
        """There are partitions again; what was received before is no longer ours."""
        self._intake.begin_epoch()
        self._paused = False
        if self._parts.answered:
            self._parts.answered.assigned()
        if self._parts.gate:
            self._parts.gate.assigned()
        if self._parts.ledger:
            self._parts.ledger.reload()

    async def close(self) -> None:
        """Take nothing new; ``run`` returns after the work in flight, what is queued is left for the next worker."""
        async with self._changed:
            self._closing = True
            self._intake.drop_waiting()
            self._changed.notify_all()

    async def run(self) -> None:
        """Process batches until ``close``. Raises whatever must end the process; nothing of that batch is acked."""
        try:
            async with asyncio.TaskGroup() as lanes:
                for lane in range(self._rules.lanes):
                    lanes.create_task(self._serve(lane))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _serve(self, lane: int) -> None:
        while batch := await self._next_batch(lane):
            started = time.perf_counter()
            try:
                await self._do(lane, batch)
            except GivenUp:
                log.info("batch.given_up", stage=self.stage.name, events=len(batch))
                continue
            self._intake.done(batch)
            self._parts.reach("acked")
            metrics.batch_done(self.stage.name, len(batch), time.perf_counter() - started)

    async def _do(self, lane: int, batch: list[Received]) -> None:
        ledger = self._parts.ledger
        async with self._parts.turns.take(alone=self._work.stands_alone(batch[0].record)):
            if ledger is None:
                await self._work.do(batch)
                return
            ledger.begin(lane, [received.record for received in batch])
            try:
                await self._work.do(batch)
            finally:
                ledger.end(lane)

    async def _next_batch(self, lane: int) -> list[Received]:
        """What is queued, at most a batch; a batch that is not full waits a moment for more. Empty: closed."""
        most = self._rules.batch_size
        async with self._changed:
            self._busy.pop(lane, None)
            self._changed.notify_all()
            await self._changed.wait_for(lambda: self._has_work() or self._closing)
            if len(self._intake) < most and self._rules.batch_wait_s:
                with suppress(TimeoutError):  # the moment is over: what is there is the batch
                    async with asyncio.timeout(self._rules.batch_wait_s):
                        await self._changed.wait_for(lambda: len(self._intake) >= most or self._closing)
                await self._changed.wait_for(lambda: self._has_work() or self._closing)  # a pause may have emptied it
            batch = self._intake.take(most, self._work.stands_alone, self._others())
            if batch:
                self._busy[lane] = tenant_of(batch[0].record)
            self._changed.notify_all()
            return batch

    def _others(self) -> set[str] | None:
        """The tenants that other lanes work for; ``None``: there are no other lanes."""
        return set(self._busy.values()) if self._rules.lanes > 1 else None

    def _has_work(self) -> bool:
        return self._intake.has_work(self._others())

    def _has_room(self) -> bool:
        return not self._closing and self._intake.has_room()

    def _is_ours(self, received: Received) -> bool:
        return received.epoch == self._intake.epoch

    def _may_wait(self) -> bool:
        return not (self._closing or self._paused)
