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
from collections.abc import Sequence
from typing import Literal

import structlog

from streams import metrics
from streams.admin import ensure_topics
from streams.ledger import Turns
from streams.parts import wall_ms
from streams.publisher import Publisher
from streams.refusals import CapReached
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
from streams.stage_process import StageProcess, first_of, patiently
from streams.stages import STAGES, Resources, own_name
from streams.topics import TOPICS, of_generation

log = structlog.get_logger()

INGESTION_NICENESS = 5
LEAVE_S = 4.0
"""How long committing and leaving may take, after the work in flight has had ``drain_timeout_s``."""


class _Worker:
    """Some stages in one process, with what they share."""

    def __init__(self, settings: Settings, names: tuple[str, ...]) -> None:
        self._settings = settings
        self._names = names
        self._publisher: Publisher | None = None
        self._processes: list[StageProcess] = []
        self._state: Literal["starting", "ready", "stopping"] = "starting"
        self._waits_for: dict[str, str] = {}

    async def start(self) -> None:
        """Everything up to ready; parts that are starting themselves are waited for."""
        self._tell("starting")
        started = time.monotonic()
        resources = Resources(self._settings, resolve(self._settings))
        kafka = resources.addresses.kafka
        topics = [of_generation(topic, self._settings.generation) for topic in TOPICS]
        await patiently(lambda: ensure_topics(kafka, topics))
        self._publisher = Publisher(kafka, self._settings.generation)
        await patiently(self._publisher.start)
        turns = Turns()
        for name in self._names:
            self._processes.append(StageProcess(STAGES[name], resources, self._publisher, turns, self._on_trouble))
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
        name = own_name(run.get_name(), self._settings.generation)
        log.error("stage.stopped", stage=name, reason=fault.reason, hint=fault.hint)
        stopped = StoppedStage(stage=name, reason=fault.reason, hint=fault.hint, at_ms=wall_ms())
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
            pid=os.getpid(),
            stages=self._names,
            generation=self._settings.generation,
            state=state,
            since_ms=wall_ms(),
            waits_for=self._waits_for,
        )
        write_worker(self._settings.data_dir, now)


def run_worker(settings: Settings, stages: Sequence[str]) -> int:
    """Run ``stages`` (all where empty) until SIGTERM or SIGINT; the exit code.

    ``STOPPED`` for a stage that refused too much, now or before: it starts again once somebody has looked.
    """
    gc.disable()  # nothing of what loading makes is garbage: collections would only cost up to a second of it
    names = tuple(stages) or tuple(STAGES)
    if any(_has_stopped(settings, own_name(name, settings.generation)) for name in names):
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
        await first_of(worker.start(), stop.wait())
        code = 0 if stop.is_set() else await worker.serve(stop)
    finally:
        worker.end_at_latest(LEAVE_S, code)
        await worker.stop()
    return code
