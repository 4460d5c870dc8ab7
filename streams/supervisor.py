"""``sensorium up``: broker, store and all workers on this machine, in the foreground.

Worker processes start at the same time as the broker and the store, for their imports take longer; they are told the
ports beforehand. A worker that crashes starts again with backoff; one that keeps crashing ends everything, loudly.
SIGTERM or SIGINT ends the workers first, which drain and commit, then the store, then the broker.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Literal

import structlog

from streams import runtime
from streams.admin import ensure_topics
from streams.broker import start_tansu
from streams.child import Child, ChildFailed, free_port
from streams.kafka_java import start_kafka
from streams.milvus_server import start_milvus
from streams.runtime import Addresses
from streams.settings import Settings
from streams.stages import STAGES

log = structlog.get_logger()

Broker = Literal["tansu", "kafka"]
Group = tuple[str, ...]

GROUPS: tuple[Group, ...] = (("extract",), ("embed", "index"), ("retrieve", "rerank", "refine"), ("generate",))
"""Stages that share a process: as few as memory wants, as many as isolation and the cores want."""

QUICK_CRASH_S = 30.0
MAX_QUICK_CRASHES = 5
POLL_S = 0.1


@dataclass
class _Worker:
    """One worker process and its history."""

    group: Group
    child: Child
    started: float = field(default_factory=time.monotonic)
    quick_crashes: int = 0


class Supervisor:
    """Starts and watches everything of one data folder."""

    def __init__(self, settings: Settings, *, broker: Broker = "tansu", groups: Sequence[Group] = GROUPS) -> None:
        self._settings = settings
        self._data_dir = settings.data_dir.absolute()
        self._broker = broker
        self._groups = tuple(groups)
        self._workers: list[_Worker] = []
        self._addresses = Addresses(kafka="", milvus="", blobs="")

    async def run(self, stop: asyncio.Event) -> int:
        """Run until ``stop`` is set, or something ends that must not; the exit code."""
        if found := runtime.running(self._data_dir):
            raise ChildFailed(
                f"{self._data_dir} is in use by process {found.pid}", hint="stop it, or choose another --data-dir"
            )
        started = time.monotonic()
        runtime.write_atomically(runtime.run_dir(self._data_dir) / "up.pid", str(os.getpid()))
        async with AsyncExitStack() as stack:
            stack.callback(runtime.forget_addresses, self._data_dir)
            stack.push_async_callback(self._stop_workers)
            servers = await self._start(stack)
            watch = asyncio.create_task(self._watch(servers))
            ready = asyncio.create_task(self._announce(started))
            stopping = asyncio.create_task(stop.wait())
            try:
                await asyncio.wait((watch, stopping), return_when=asyncio.FIRST_COMPLETED)
                if watch.done():
                    watch.result()
            finally:
                for task in (watch, ready, stopping):
                    task.cancel()
            log.info("up.stopping")
        return 0

    async def _start(self, stack: AsyncExitStack) -> list[Child]:
        """Everything at once; the workers wait for broker and store by themselves."""
        kafka_port, milvus_port = free_port(), free_port()
        self._addresses = Addresses(
            kafka=f"127.0.0.1:{kafka_port}",
            milvus=f"http://127.0.0.1:{milvus_port}",
            blobs=runtime.blob_root(self._settings),
            pid=os.getpid(),
        )
        start_broker = start_tansu if self._broker == "tansu" else start_kafka
        starting = [
            asyncio.create_task(start_broker(self._data_dir, port=kafka_port)),
            asyncio.create_task(start_milvus(self._data_dir, port=milvus_port)),
        ]
        self._workers = [_Worker(group, await self._spawn(group)) for group in self._groups]
        servers: list[Child] = []
        results = await asyncio.gather(*starting, return_exceptions=True)
        for result in results:
            if not isinstance(result, BaseException):
                stack.push_async_callback(result[0].stop)
                servers.append(result[0])
        stack.push_async_callback(self._stop_workers)  # before the servers
        for result in results:
            if isinstance(result, BaseException):
                raise result
        await ensure_topics(self._addresses.kafka)
        runtime.write_addresses(self._data_dir, self._addresses)
        log.info("up.started", kafka=self._addresses.kafka, milvus=self._addresses.milvus, broker=self._broker)
        if self._broker == "tansu":
            log.info("up.in_memory", note="topics end with this process, the index stays; --broker kafka keeps both")
        return servers

    async def _spawn(self, group: Group) -> Child:
        command = [sys.executable, "-m", "streams", "worker"]
        for stage in group:
            command += ["--stage", stage]
        threads = str(self._settings.threads or min(4, os.cpu_count() or 1))
        env = {
            "SENSORIUM_DATA_DIR": str(self._data_dir),
            "SENSORIUM_KAFKA": self._addresses.kafka,
            "SENSORIUM_MILVUS": self._addresses.milvus,
            "SENSORIUM_BLOBS": self._addresses.blobs,
            "OMP_NUM_THREADS": threads,
            "TOKENIZERS_PARALLELISM": "false",
        }
        name = "-".join(group)
        return await Child.start(f"worker {name}", command, log=self._data_dir / "logs" / f"{name}.log", env=env)

    async def _announce(self, started: float) -> None:
        """Write that everything is ready once every stage has a ready worker."""
        wanted = {stage for group in self._groups for stage in group}
        while wanted:
            states = runtime.workers(self._data_dir)
            if wanted <= {stage for worker in states if worker.state == "ready" for stage in worker.stages}:
                break
            await asyncio.sleep(POLL_S)
        runtime.write_addresses(self._data_dir, self._addresses.model_copy(update={"ready": True}))
        log.info("up.ready", seconds=round(time.monotonic() - started, 1))

    async def _watch(self, servers: Sequence[Child]) -> None:
        """Start workers again. Raises ``ChildFailed`` where broker or store ends, or a worker keeps crashing."""
        async with asyncio.TaskGroup() as group:
            for server in servers:
                group.create_task(self._must_live(server))
            for worker in self._workers:
                group.create_task(self._keep_alive(worker))

    async def _must_live(self, server: Child) -> None:
        code = await server.wait()
        raise ChildFailed(f"{server.name} ended with {code}: {server.last_words()}", hint=f"its log is {server.log}")

    async def _keep_alive(self, worker: _Worker) -> None:
        while True:
            code = await worker.child.wait()
            lived = time.monotonic() - worker.started
            worker.quick_crashes = worker.quick_crashes + 1 if lived < QUICK_CRASH_S else 1
            if worker.quick_crashes > MAX_QUICK_CRASHES:
                raise ChildFailed(
                    f"{worker.child.name} keeps ending ({code}): {worker.child.last_words()}",
                    hint=f"its log is {worker.child.log}",
                )
            log.warning("worker.ended", worker=worker.child.name, code=code, log=str(worker.child.log))
            await asyncio.sleep(min(10.0, 0.2 * 2**worker.quick_crashes) * random.uniform(0.5, 1.0))  # noqa: S311  # jitter
            worker.child = await self._spawn(worker.group)
            worker.started = time.monotonic()

    async def _stop_workers(self) -> None:
        timeout = self._settings.drain_timeout_s + 5.0
        await asyncio.gather(*(worker.child.stop(timeout) for worker in self._workers))
        for worker in self._workers:
            runtime.forget_worker(self._data_dir, worker.child.pid)


async def up(settings: Settings, *, broker: Broker = "tansu", groups: Sequence[Group] = GROUPS) -> int:
    """Run until SIGTERM or SIGINT; the exit code. Raises ``ChildFailed`` where something cannot run.

    ``groups`` says which stages share a process; without any, only the broker and the store run.
    """
    unknown = {stage for group in groups for stage in group} - STAGES.keys()
    if unknown:
        raise ValueError(f"no stages: {', '.join(sorted(unknown))}")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return await Supervisor(settings, broker=broker, groups=groups).run(stop)
