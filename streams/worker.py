"""A worker process: some stages, from start-up to SIGTERM.

Models load while the consumers join their groups; the process is ready when both are done. SIGTERM takes nothing new,
finishes the batch in flight, commits, and ends with 0; a fault ends it with 1 before anything of its batch is
acknowledged, and whoever supervises it starts it again from the last commit.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

import stamina
import structlog

from streams import metrics
from streams.admin import ensure_topics
from streams.app import build_app
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
        )
        self.app = build_app(spec.topic, self.shell, settings, resources.addresses.kafka)
        self.joined = asyncio.Event()
        self.app.on_partitions_assigned.connect(self._on_assigned)

    async def _on_assigned(self, *_: object, **__: object) -> None:
        """The group has settled; with more workers than partitions some of them have none."""
        self.joined.set()

    async def start(self) -> None:
        """Load the models while the consumer joins its group."""
        async with asyncio.TaskGroup() as group:
            group.create_task(_patiently(self.stage.start))
            group.create_task(self.app.start())
            group.create_task(self.joined.wait())

    async def run(self) -> None:
        """Process until the shell is closed. Raises what must end the process."""
        watcher = asyncio.create_task(self._watch())
        work = asyncio.create_task(self.shell.run())
        try:
            done, _ = await asyncio.wait((watcher, work), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            watcher.cancel()
            work.cancel()

    async def _watch(self) -> None:
        """A Faust app that has crashed neither raises nor ends: notice it."""
        while True:
            await asyncio.sleep(WATCH_S)
            if self.app.crashed:
                raise RuntimeError(f"the consumer of {self.stage.name} has crashed") from self.app.crash_reason

    async def stop(self) -> None:
        """Commit and leave the group, release the stage."""
        await self.app.stop()
        await self.stage.stop()


async def _patiently(start: Callable[[], Awaitable[None]]) -> None:
    """A part that we need may still be starting itself."""
    async for attempt in stamina.retry_context(
        on=TransientError, attempts=None, timeout=START_PATIENCE_S, wait_initial=0.1, wait_max=1.0, wait_jitter=0.1
    ):
        with attempt:
            await start()


def run_worker(settings: Settings, stages: Sequence[str]) -> int:
    """Run ``stages`` (all where empty) until SIGTERM or SIGINT; the exit code."""
    names = tuple(stages) or tuple(STAGES)
    if settings.metrics_port:
        metrics.serve(settings.metrics_port)
    if all(STAGES[name].is_ingestion for name in names):
        os.nice(INGESTION_NICENESS)  # questions have priority for the cores
    try:
        return asyncio.run(_serve(settings, names))
    finally:
        forget_worker(settings.data_dir, os.getpid())


async def _serve(settings: Settings, names: tuple[str, ...]) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    started = time.monotonic()
    _tell(settings, names, "starting")
    resources = Resources(settings, resolve(settings))
    publisher = Publisher(resources.addresses.kafka)
    await _patiently(lambda: ensure_topics(resources.addresses.kafka))
    await _patiently(publisher.start)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(publisher.stop)
        processes = [_StageProcess(STAGES[name], resources, publisher) for name in names]
        stopping = asyncio.create_task(stop.wait())
        starting = asyncio.gather(*(process.start() for process in processes))
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            return 0
        starting.result()
        for process in processes:
            stack.push_async_callback(process.stop)
        log.info("worker.ready", stages=names, seconds=round(time.monotonic() - started, 1))
        _tell(settings, names, "ready")
        return await _until_stopped(settings, names, processes, stopping)


async def _until_stopped(
    settings: Settings, names: tuple[str, ...], processes: list[_StageProcess], stopping: asyncio.Task[bool]
) -> int:
    runs = [asyncio.create_task(process.run(), name=process.stage.name) for process in processes]
    await asyncio.wait((*runs, stopping), return_when=asyncio.FIRST_COMPLETED)
    _tell(settings, names, "stopping")
    for process in processes:
        await process.shell.close()
    _, late = await asyncio.wait(runs, timeout=settings.drain_timeout_s)
    for run in late:
        log.warning("worker.drain_timeout", stage=run.get_name(), hint="its events come again after the restart")
        run.cancel()
    failures = [(run, run.exception()) for run in runs if run not in late and run.exception()]
    for run, failure in failures:
        log.error("worker.failed", stage=run.get_name(), exc_info=failure)
    return 1 if failures else 0


def _tell(settings: Settings, names: tuple[str, ...], state: str) -> None:
    worker = WorkerState.model_validate({"pid": os.getpid(), "stages": names, "state": state, "since_ms": wall_ms()})
    write_worker(settings.data_dir, worker)
