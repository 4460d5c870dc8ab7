"""A worker process: some stages, from start-up to SIGTERM.

Models load while the consumers join their groups; the process is ready when both are done. Kafka and the store are
waited for as long as they are away. SIGTERM takes nothing new, finishes the work in flight, commits, and ends with 0:
within ``drain_timeout_s`` and ``LEAVE_S``, whatever is away or stuck. A fault of a stage costs its event a dead letter
(``streams/work.py``); a crash of the consumer ends the process with 1 before anything is acknowledged, and whoever
supervises it starts it again from the last commit. A stage that refuses too much ends it with ``STOPPED``.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Literal, NoReturn

import structlog

from streams import metrics
from streams.admin import ensure_topics
from streams.answered import Answered, answers_of
from streams.app import build_app
from streams.faultpoints import armed
from streams.ledger import Ledger, Turns
from streams.publisher import Publisher
from streams.refusals import Cap, CapReached
from streams.restarts import STOPPED
from streams.runtime import (
    StoppedStage,
    WorkerState,
    forget_worker,
    resolve,
    stopped_stages,
    write_stopped,
    write_worker,
)
from streams.settings import Settings
from streams.shell import Parts, Rules, Shell, wall_ms
from streams.stages import STAGES, Resources, StageSpec
from streams.work import back_off
from workers.errors import TransientError

log = structlog.get_logger()

INGESTION_NICENESS = 5
WATCH_S = 0.5
QUIET_WAITS = 5
"""Parts that start together are away at first; the log need not tell."""
LEAVE_S = 4.0
"""How long committing and leaving may take, after the work in flight has had ``drain_timeout_s``."""
OnTrouble = Callable[[str, str], None]
JOIN_PATIENCE_S = 180.0
"""Longer than a rebalance, which waits for the work in flight elsewhere."""


class _StageProcess:
    """One stage with its shell and its Faust app."""

    def __init__(
        self, spec: StageSpec, resources: Resources, publisher: Publisher, turns: Turns, on_trouble: OnTrouble
    ) -> None:
        settings = resources.settings
        rules = Rules(
            batch_size=min(settings.batch_size, spec.most),
            batch_wait_s=settings.batch_wait_ms / 1000 if spec.is_batching else 0,
            lanes=spec.lanes,
            attempts=settings.attempts,
            deaths=settings.deaths,
        )
        self.ledger = Ledger(settings.data_dir / "attempts" / spec.name, lanes=rules.lanes, most=rules.batch_size)
        parts = Parts(
            cap=Cap(settings.dead_letter_cap),
            ledger=self.ledger,
            turns=turns,
            answered=None if spec.is_ingestion else Answered(answers_of(resources.addresses.kafka)),
            reach=armed(settings.faults, spec.name, settings.data_dir),
            on_trouble=partial(on_trouble, spec.name),
        )
        self.stage = spec.build(resources)
        self.shell = Shell(self.stage, publisher.send, rules, parts)
        self.app = build_app(spec.topic, self.shell, settings, resources.addresses.kafka)
        self._joined = asyncio.Event()
        self.app.on_partitions_assigned.connect(self._on_assigned)

    async def _on_assigned(self, *_: object, **__: object) -> None:
        """The group has settled; with more workers than partitions some of them have none."""
        self._joined.set()

    async def start(self) -> None:
        """Load the models while the consumer joins its group. Raises ``TransientError`` where a part stays away."""
        ready = asyncio.gather(_patiently(self.stage.start), self.app.start(), self._join())
        await _first(ready, self._crash())

    async def _join(self) -> None:
        try:
            await asyncio.wait_for(self._joined.wait(), JOIN_PATIENCE_S)
        except TimeoutError:
            raise TransientError(
                f"{self.stage.name} could not join its consumer group within {JOIN_PATIENCE_S:.0f} s",
                hint="Kafka takes session timeouts between 6 s and 30 min: see SENSORIUM_SESSION_TIMEOUT_S",
            ) from None

    async def run(self) -> None:
        """Process until the shell is closed. Raises what must end the process."""
        await _first(self.shell.run(), self._crash())

    async def stop(self) -> None:
        """Commit and leave the group, release the stage."""
        await self.leave()
        await self.stage.stop()

    async def leave(self) -> None:
        """Commit what is acknowledged and leave the group."""
        await self.app.stop()

    async def _crash(self) -> NoReturn:
        """Raises when the Faust app has crashed; by itself it neither raises nor ends."""
        while True:
            await asyncio.sleep(WATCH_S)
            if self.app.crashed:
                raise RuntimeError(f"the consumer of {self.stage.name} has crashed") from self.app.crash_reason


class _Worker:
    """Some stages in one process, with what they share."""

    def __init__(self, settings: Settings, names: tuple[str, ...]) -> None:
        self._settings = settings
        self._names = names
        self._publisher: Publisher | None = None
        self._processes: list[_StageProcess] = []
        self._state: Literal["starting", "ready", "stopping"] = "starting"
        self._waits_for: dict[str, str] = {}

    async def start(self) -> None:
        """Everything up to ready; parts that are starting themselves are waited for."""
        self._tell("starting")
        started = time.monotonic()
        resources = Resources(self._settings, resolve(self._settings))
        kafka = resources.addresses.kafka
        await _patiently(lambda: ensure_topics(kafka))
        self._publisher = Publisher(kafka)
        await _patiently(self._publisher.start)
        turns = Turns()
        for name in self._names:
            self._processes.append(_StageProcess(STAGES[name], resources, self._publisher, turns, self._on_trouble))
        await asyncio.gather(*(process.start() for process in self._processes))
        gc.freeze()
        gc.enable()
        log.info("worker.ready", stages=self._names, seconds=round(time.monotonic() - started, 1))
        self._tell("ready")

    async def serve(self, stop: asyncio.Event) -> int:
        """Process until ``stop``, then finish what is in flight; the exit code."""
        runs = [asyncio.create_task(process.run(), name=process.stage.name) for process in self._processes]
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((*runs, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        self._tell("stopping")
        for process in self._processes:
            await process.shell.close()
        ended, late = await asyncio.wait(runs, timeout=self._settings.drain_timeout_s)
        code = max((self._code(run) for run in ended), default=0)
        if late:
            log.warning(
                "worker.drain_timeout",
                stages=[run.get_name() for run in late],
                hint="their events come again after the restart",
            )
            # A thread cannot be cancelled, and would be waited for: the process ends under the work that is left.
            self.end_at_latest(LEAVE_S, code)
            for process in self._processes:
                await process.leave()
            self._end(code)
        return code

    async def stop(self) -> None:
        """Commit, leave, release, disconnect; as far as any of it was reached."""
        for process in self._processes:
            await process.stop()
        if self._publisher:
            await self._publisher.stop()

    def end_at_latest(self, within_s: float, code: int) -> None:
        """Leaving needs the broker, which may be away: then the process ends without a farewell."""
        asyncio.get_running_loop().call_later(within_s, self._end, code)

    def close(self) -> None:
        """The process ends by itself: nothing of what is in work is to blame."""
        for process in self._processes:
            process.ledger.close()
        forget_worker(self._settings.data_dir, os.getpid())

    def _end(self, code: int) -> None:
        self.close()
        os._exit(code)

    def _code(self, run: asyncio.Task[None]) -> int:
        """The exit code that the end of a stage asks for."""
        fault = run.exception()
        if fault is None:
            return 0
        if not isinstance(fault, CapReached):
            log.error("worker.failed", stage=run.get_name(), error=repr(fault))
            return 1
        log.error("stage.stopped", stage=run.get_name(), reason=fault.reason, hint=fault.hint)
        stopped = StoppedStage(stage=run.get_name(), reason=fault.reason, hint=fault.hint, at_ms=wall_ms())
        write_stopped(self._settings.data_dir, stopped)
        return STOPPED

    def _on_trouble(self, stage: str, reason: str) -> None:
        """A stage waits for a part that is away, or, without a reason, goes on."""
        if self._waits_for.get(stage, "") != reason:
            others = {name: known for name, known in self._waits_for.items() if name != stage}
            self._waits_for = others | ({stage: reason} if reason else {})
            self._tell(self._state)

    def _tell(self, state: Literal["starting", "ready", "stopping"]) -> None:
        self._state = state
        now = WorkerState(
            pid=os.getpid(), stages=self._names, state=state, since_ms=wall_ms(), waits_for=self._waits_for
        )
        write_worker(self._settings.data_dir, now)


def run_worker(settings: Settings, stages: Sequence[str]) -> int:
    """Run ``stages`` (all where empty) until SIGTERM or SIGINT; the exit code.

    ``STOPPED`` for a stage that refused too much, now or before: it starts again once somebody has looked.
    """
    gc.disable()  # nothing of what loading makes is garbage: collections would only cost up to a second of it
    names = tuple(stages) or tuple(STAGES)
    if any(_has_stopped(settings, name) for name in names):
        return STOPPED
    if settings.metrics_port:
        metrics.serve(settings.metrics_port)
    if all(STAGES[name].is_ingestion for name in names):
        os.nice(INGESTION_NICENESS)  # questions have priority for the cores
    worker = _Worker(settings, names)
    try:
        return asyncio.run(_serve(worker))
    finally:
        worker.close()


def _has_stopped(settings: Settings, name: str) -> bool:
    for stopped in stopped_stages(settings.data_dir):
        if stopped.stage == name:
            hint = f"when its cause is mended: sensorium dead-letters resume --stage {name}"
            log.error("stage.stopped", stage=name, reason=stopped.reason, hint=hint)
            return True
    return False


async def _serve(worker: _Worker) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    code = 1
    try:
        await _first(worker.start(), stop.wait())
        code = 0 if stop.is_set() else await worker.serve(stop)
    finally:
        worker.end_at_latest(LEAVE_S, code)
        await worker.stop()
    return code


async def _first(*work: Awaitable[object]) -> None:
    """Wait until one of them is done, and cancel the others. Raises what it raised."""
    tasks = [asyncio.ensure_future(item) for item in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _patiently(start: Callable[[], Awaitable[None]]) -> None:
    """A part that we need may still be starting itself, or be away: it is waited for as long as that takes."""
    waits = 0
    while True:
        try:
            await start()
        except TransientError as error:
            waits += 1
            (log.warning if waits > QUIET_WAITS else log.debug)(
                "worker.waits", reason=error.reason, hint=error.hint, times=waits
            )
            await back_off(waits)
        else:
            return
