"""A worker process: some stages, from start-up to SIGTERM.

Models load while the consumers join their groups; the process is ready when both are done. SIGTERM takes nothing new,
finishes the batch in flight, commits, and ends with 0; a fault ends it with 1 before anything of its batch is
acknowledged, and whoever supervises it starts it again from the last commit.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, NoReturn

import stamina
import structlog

from streams import metrics
from streams.admin import ensure_topics
from streams.app import build_app
from streams.faultpoints import armed
from streams.publisher import Publisher
from streams.runtime import WorkerState, forget_worker, resolve, write_worker
from streams.settings import Settings
from streams.shell import Shell, wall_ms
from streams.stages import STAGES, Resources, StageSpec
from workers.errors import TransientError

log = structlog.get_logger()

INGESTION_NICENESS = 5
WATCH_S = 0.5
START_PATIENCE_S = 60.0
JOIN_PATIENCE_S = 180.0
"""Longer than a rebalance, which waits for the work in flight elsewhere."""


class _StageProcess:
    """One stage with its shell and its Faust app."""

    def __init__(self, spec: StageSpec, resources: Resources, publisher: Publisher) -> None:
        settings = resources.settings
        self.stage = spec.build(resources)
        self.shell = Shell(
            self.stage,
            publisher.send,
            batch_size=min(settings.batch_size, spec.most),
            batch_wait_s=settings.batch_wait_ms / 1000 if spec.is_batching else 0,
            retries=settings.retries,
            reach=armed(settings.faults, spec.name, settings.data_dir),
        )
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

    async def start(self) -> None:
        """Everything up to ready; parts that are starting themselves are waited for."""
        self._tell("starting")
        started = time.monotonic()
        resources = Resources(self._settings, resolve(self._settings))
        kafka = resources.addresses.kafka
        await _patiently(lambda: ensure_topics(kafka))
        self._publisher = Publisher(kafka)
        await _patiently(self._publisher.start)
        self._processes = [_StageProcess(STAGES[name], resources, self._publisher) for name in self._names]
        await asyncio.gather(*(process.start() for process in self._processes))
        gc.freeze()
        gc.enable()
        log.info("worker.ready", stages=self._names, seconds=round(time.monotonic() - started, 1))
        self._tell("ready")

    async def serve(self, stop: asyncio.Event) -> bool:
        """Process until ``stop``, then finish what is in flight; whether all was well."""
        runs = [asyncio.create_task(process.run(), name=process.stage.name) for process in self._processes]
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((*runs, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        self._tell("stopping")
        for process in self._processes:
            await process.shell.close()
        ended, late = await asyncio.wait(runs, timeout=self._settings.drain_timeout_s)
        failed = [run for run in ended if run.exception()]
        for run in failed:
            log.error("worker.failed", stage=run.get_name(), error=repr(run.exception()))
        if late:
            await self._abandon([run.get_name() for run in late], is_well=not failed)
        return not failed

    async def stop(self) -> None:
        """Commit, leave, release, disconnect; as far as any of it was reached."""
        for process in self._processes:
            await process.stop()
        if self._publisher:
            await self._publisher.stop()

    async def _abandon(self, stages: list[str], *, is_well: bool) -> None:
        """End the process under the work that is left: a thread cannot be cancelled, and would be waited for."""
        log.warning("worker.drain_timeout", stages=stages, hint="their events come again after the restart")
        for process in self._processes:
            await process.leave()
        forget_worker(self._settings.data_dir, os.getpid())
        os._exit(0 if is_well else 1)

    def _tell(self, state: Literal["starting", "ready", "stopping"]) -> None:
        now = WorkerState(pid=os.getpid(), stages=self._names, state=state, since_ms=wall_ms())
        write_worker(self._settings.data_dir, now)


def run_worker(settings: Settings, stages: Sequence[str]) -> int:
    """Run ``stages`` (all where empty) until SIGTERM or SIGINT; the exit code.

    Raises ``SensoriumError`` where a part that is needed stays away at the start.
    """
    gc.disable()  # nothing of what loading makes is garbage: collections would only cost up to a second of it
    names = tuple(stages) or tuple(STAGES)
    if settings.metrics_port:
        metrics.serve(settings.metrics_port)
    if all(STAGES[name].is_ingestion for name in names):
        os.nice(INGESTION_NICENESS)  # questions have priority for the cores
    try:
        return asyncio.run(_serve(_Worker(settings, names)))
    finally:
        forget_worker(settings.data_dir, os.getpid())


async def _serve(worker: _Worker) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        await _first(worker.start(), stop.wait())
        return 0 if stop.is_set() or await worker.serve(stop) else 1
    finally:
        await worker.stop()


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
    """A part that we need may still be starting itself."""
    async for attempt in stamina.retry_context(
        on=TransientError, attempts=None, timeout=START_PATIENCE_S, wait_initial=0.1, wait_max=1.0, wait_jitter=0.1
    ):
        with attempt:
            await start()
