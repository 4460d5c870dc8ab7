"""``sensorium up``: broker, store and all workers on this machine, in the foreground.

Worker processes start at the same time as the broker and the store, for their imports take longer; they are told the
ports beforehand. What ends by itself starts again with backoff; what cannot start ends everything, loudly; a stage
that stopped itself because it refused too much stays stopped, while the others go on. SIGTERM or SIGINT ends the
workers first, which drain and commit, then the store, then the broker; a second one kills them.

A broker or a store that the settings name is used, and none is started.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Literal, Protocol

import stamina
import structlog

from streams import runtime
from streams.admin import ensure_topics
from streams.broker import start_tansu
from streams.child import Child, ChildFailed, free_ports
from streams.environment import PREFIX, worker_environment
from streams.generations import Group, Planned, planned, read_generations
from streams.kafka_java import start_kafka
from streams.milvus_server import start_milvus
from streams.restarts import DEFAULT_POLICY, STOPPED, RestartPolicy, keep_alive
from streams.runtime import Addresses
from streams.security import kafka_address
from streams.settings import Settings
from streams.stages import STAGES
from workers.errors import TransientError

log = structlog.get_logger()

Broker = Literal["tansu", "kafka"]

GROUPS: tuple[Group, ...] = (("extract",), ("embed", "index"), ("retrieve", "rerank", "refine", "generate"))
"""Stages that share a process: as few as memory wants, as many as isolation and the cores want."""

BROKER, STORE = "broker", "store"
TOPICS_PATIENCE_S = 30.0
SERVER_STOP_S = 30.0
POLL_S = 0.1
GENERATIONS_POLL_S = 0.5


class OnEvent(Protocol):
    """Told what happens: ``broker.started``, ``store.started``, ``stage.ready``, ``up.ready`` (all with ``seconds``),
    ``up.not_ready``, ``process.ended``, ``stage.stopped`` (it refuses too much), ``generation.failed`` (its workers
    keep ending), ``broker.topics_lost``, ``up.stopping``, ``up.stopped``."""

    def __call__(self, event: str, /, **facts: object) -> None:
        """``event`` has happened."""


def log_event(event: str, /, **facts: object) -> None:
    """Into the log; trouble as warnings."""
    is_trouble = event in ("process.ended", "broker.topics_lost", "up.not_ready", "generation.failed")
    tell = log.error if event == "stage.stopped" else log.warning if is_trouble else log.info
    tell(event, **facts)


def worker_command(group: Group) -> list[str]:
    """The command line of a worker process."""
    return [sys.executable, "-m", "streams", "worker", *(word for stage in group for word in ("--stage", stage))]


class Supervisor:
    """Starts and watches everything of one data folder."""

    def __init__(
        self,
        settings: Settings,
        *,
        broker: Broker = "tansu",
        groups: Sequence[Group] = GROUPS,
        on_event: OnEvent = log_event,
        command: Callable[[Group], list[str]] = worker_command,
        policy: RestartPolicy = DEFAULT_POLICY,
    ) -> None:
        self._settings = settings
        self._data_dir = settings.data_dir.absolute()
        self._broker = broker
        self._groups = dict(zip(_names(groups), groups, strict=True))
        self._on_event = on_event
        self._command = command
        self._policy = policy
        self._plans: dict[str, Planned] = {}
        self._children: dict[str, Child] = {}
        self._addresses = Addresses(kafka="", milvus="", blobs="")
        self._have_topics = False
        self._were_ready: set[int] = set()
        self._lock = -1
        self._started = 0.0

    async def run(self, stop: asyncio.Event) -> int:
        """Run until ``stop`` is set; 0. Raises ``SensoriumError`` where something cannot run or keeps ending."""
        async with runtime.exclusive(self._data_dir) as self._lock:
            self._started = time.monotonic()
            self._choose_addresses()
            supervising = asyncio.create_task(self._supervise())
            stopping = asyncio.create_task(stop.wait())
            try:
                await asyncio.wait((supervising, stopping), return_when=asyncio.FIRST_COMPLETED)
                if supervising.done():
                    supervising.result()
            finally:
                self._on_event("up.stopping")
                for task in (supervising, stopping):
                    task.cancel()
                await asyncio.gather(supervising, stopping, return_exceptions=True)
                await self._stop()
        self._on_event("up.stopped")
        return 0

    def kill(self) -> None:
        """End all children at once, without draining."""
        for child in self._children.values():
            child.kill()

    def _choose_addresses(self) -> None:
        runtime.forget_workers(self._data_dir)  # of an earlier run: the lock is ours
        runtime.forget_stopped(self._data_dir)  # who starts it again has looked
        kafka_port, milvus_port = free_ports(2)
        self._addresses = Addresses(
            kafka=self._settings.kafka or f"127.0.0.1:{kafka_port}",
            milvus=self._settings.milvus or f"http://127.0.0.1:{milvus_port}",
            blobs=runtime.blob_root(self._settings),
            pid=os.getpid(),
            started_ms=time.time_ns() // 1_000_000,
        )
        self._say(ready=False)

    def _say(self, *, ready: bool) -> None:
        pids = {name: child.pid for name, child in self._children.items()}
        self._addresses = self._addresses.model_copy(update={"pids": pids, "ready": ready})
        runtime.write_addresses(self._data_dir, self._addresses)

    async def _supervise(self) -> None:
        """Everything at once; the workers wait for broker and store by themselves."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_generations(group))
                group.create_task(self._use_broker() if self._settings.kafka else self._keep(self._start_broker))
                if not self._settings.milvus:
                    group.create_task(self._keep(self._start_store))
                group.create_task(self._watch_readiness())
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from failures

    async def _keep_generations(self, group: asyncio.TaskGroup) -> None:
        """Start and end worker processes as ``generations.json`` says, as often as that changes."""
        running: dict[str, asyncio.Task[None]] = {}
        while True:
            wanted = planned(self._groups, read_generations(self._settings))
            gone = [name for name in running if self._plans[name] != wanted.get(name)]
            for name in gone:
                running.pop(name).cancel()
            await self._stop_workers(gone)
            for name in [name for name in wanted if name not in running]:  # in their order: it numbers them
                self._plans[name] = wanted[name]
                running[name] = group.create_task(self._keep_worker(wanted[name]))
            await asyncio.sleep(GENERATIONS_POLL_S)

    async def _keep_worker(self, plan: Planned) -> None:
        try:
            await self._keep(partial(self._start_worker, plan))
        except ChildFailed as error:
            if plan.is_first:
                raise
            # Those who ask are served by another.
            name = plan.generation.name
            self._on_event("generation.failed", generation=name, reason=error.reason, hint=error.hint)

    async def _keep(self, start: Callable[[], Awaitable[Child]]) -> None:
        def on_start(child: Child) -> None:
            self._say(ready=self._is_ready())

        def on_end(child: Child, code: int) -> None:
            self._say(ready=self._is_ready())
            facts = {"last_words": child.last_words()} if code else {}
            self._on_event("process.ended", name=child.name, code=code, log=str(child.log), **facts)
            if code == STOPPED:
                self._tell_stopped(child)

        def was_ready(child: Child) -> bool:
            return child.pid in self._were_ready

        await keep_alive(start, self._policy, on_start=on_start, on_end=on_end, was_ready=was_ready)

    def _tell_stopped(self, child: Child) -> None:
        for stopped in runtime.stopped_stages(self._data_dir):
            if stopped.stage in child.name:
                self._on_event("stage.stopped", stage=stopped.stage, reason=stopped.reason, hint=stopped.hint)

    async def _start_worker(self, plan: Planned) -> Child:
        if last := self._children.get(plan.name):
            runtime.forget_worker(self._data_dir, last.pid)
        number = list(self._plans).index(plan.name)
        child = Child.start(
            f"worker {plan.name}",
            self._command(plan.group),
            log=self._data_dir / "logs" / f"{plan.name}.log",
            env={
                **worker_environment(self._settings, self._addresses, number),
                **plan.generation.settings,
                f"{PREFIX}GENERATION": plan.generation.name,
            },
            keep_open=(self._lock,),
        )
        self._children[plan.name] = child
        return child

    async def _start_broker(self) -> Child:
        is_first = BROKER not in self._children
        self._have_topics = False
        start = start_tansu if self._broker == "tansu" else start_kafka
        port = int(self._addresses.kafka.rpartition(":")[2])
        child, _ = await start(self._data_dir, port=port, keep_open=(self._lock,))
        self._children[BROKER] = child
        self._on_event("broker.started", kafka=self._addresses.kafka, broker=self._broker, seconds=self._seconds())
        await self._make_topics()
        if not is_first and self._broker == "tansu":
            self._on_event("broker.topics_lost", hint="publish again what was not searchable yet")
            # They start again, with consumers that know nothing of the old broker.
            await self._stop_workers(list(self._plans))
        self._have_topics = True
        return child

    async def _use_broker(self) -> None:
        """The broker that the settings name."""
        await self._make_topics()
        self._have_topics = True

    async def _make_topics(self) -> None:
        async for attempt in stamina.retry_context(
            on=TransientError,
            attempts=None,
            timeout=TOPICS_PATIENCE_S,
            wait_initial=0.05,
            wait_max=1.0,
            wait_jitter=0.1,
        ):
            with attempt:
                await ensure_topics(kafka_address(self._addresses.kafka, self._settings))

    async def _start_store(self) -> Child:
        port = int(self._addresses.milvus.rpartition(":")[2])
        child, _ = await start_milvus(self._data_dir, port=port, keep_open=(self._lock,))
        self._children[STORE] = child
        self._on_event("store.started", milvus=self._addresses.milvus, seconds=self._seconds())
        return child

    async def _watch_readiness(self) -> None:
        """Tell which stages are ready, and whether everything is, as often as that changes."""
        known: set[str] = set()
        told = False
        while True:
            ready = self._ready_stages()
            for stage in sorted(ready - known):
                self._on_event("stage.ready", stage=stage, seconds=self._seconds())
            known = ready
            if self._is_ready() != told:
                told = not told
                self._say(ready=told)
                self._on_event("up.ready" if told else "up.not_ready", seconds=self._seconds())
            await asyncio.sleep(POLL_S)

    def _ready_stages(self) -> set[str]:
        ready = [worker for worker in runtime.workers(self._data_dir) if worker.state == "ready"]
        self._were_ready.update(worker.pid for worker in ready)
        first = {plan.generation.name for plan in self._plans.values() if plan.is_first}
        return {stage for worker in ready if worker.generation in first for stage in worker.stages}

    def _is_ready(self) -> bool:
        has_servers = all(child.returncode is None for name in (BROKER, STORE) if (child := self._children.get(name)))
        has_store = bool(self._settings.milvus) or STORE in self._children
        wanted = {stage for group in self._groups.values() for stage in group}
        return self._have_topics and has_servers and has_store and wanted <= self._ready_stages()

    def _seconds(self) -> float:
        return round(time.monotonic() - self._started, 2)

    async def _stop(self) -> None:
        """Workers, then the store, then the broker."""
        await self._stop_workers(list(self._plans))
        for name in (STORE, BROKER):
            if child := self._children.get(name):
                await child.stop(SERVER_STOP_S)
        runtime.forget_addresses(self._data_dir)

    async def _stop_workers(self, names: Sequence[str]) -> None:
        timeout_s = self._settings.drain_timeout_s + 5.0
        workers = [self._children[name] for name in names if name in self._children]
        await asyncio.gather(*(worker.stop(timeout_s) for worker in workers))
        for worker in workers:
            runtime.forget_worker(self._data_dir, worker.pid)


def _names(groups: Sequence[Group]) -> list[str]:
    """A name for each group; the second process of the same stages gets a number."""
    seen: Counter[Group] = Counter()
    names = []
    for group in groups:
        seen[group] += 1
        names.append("-".join(group) + (f"-{seen[group]}" if seen[group] > 1 else ""))
    return names


async def up(
    settings: Settings, *, broker: Broker = "tansu", groups: Sequence[Group] = GROUPS, on_event: OnEvent = log_event
) -> int:
    """Run until SIGTERM or SIGINT; the exit code. Raises ``SensoriumError`` where something cannot run.

    ``groups`` says which stages share a process; a group that stands twice runs twice. Without any, only the broker and
    the store run.
    """
    unknown = {stage for group in groups for stage in group} - STAGES.keys()
    if unknown:
        raise ValueError(f"no stages: {', '.join(sorted(unknown))}")
    supervisor = Supervisor(settings, broker=broker, groups=groups, on_event=on_event)
    stop = asyncio.Event()

    def on_signal() -> None:
        supervisor.kill() if stop.is_set() else stop.set()

    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, on_signal)
    try:
        return await supervisor.run(stop)
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
