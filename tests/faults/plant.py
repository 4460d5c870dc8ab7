"""A whole system in pieces that a test may kill: Apache Kafka, the store, and every stage in processes of its own.

Whatever dies is started again at once, as a supervisor does; the fake profile keeps models out of it. Everything lies
in one folder and is ended by its own process ids.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer

from streams import runtime
from streams.child import Child, free_ports
from streams.kafka_java import start_kafka
from streams.milvus_server import start_milvus

COLLECTION = "sensorium_first"
STAGES = ("extract", "embed", "index", "retrieve", "rerank", "refine", "generate")
TWICE = ("embed", "index")
START_S = 120.0


class Slot:
    """One worker process, started again whenever it ends."""

    def __init__(self, name: str, stage: str, env: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.stage = stage
        self.env = dict(env or {})
        self.child: Child | None = None

    @property
    def pid(self) -> int:
        """Its process id; 0 while there is none."""
        return self.child.pid if self.child and self.child.returncode is None else 0


class Plant:
    """See the module."""

    def __init__(self, folder: Path, env: Mapping[str, str], slots: Sequence[Slot]) -> None:
        self.folder = folder
        self.slots = list(slots)
        self.killed: Counter[str] = Counter()
        self.exits: Counter[str] = Counter()
        self._extra = dict(env)
        self._kafka_port, self._milvus_port = free_ports(2)
        self.kafka = f"127.0.0.1:{self._kafka_port}"
        self.milvus = f"http://127.0.0.1:{self._milvus_port}"
        self._parts: dict[str, Child] = {}
        self._keepers: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Everything, up to all stages being ready."""
        await asyncio.gather(self._start("kafka"), self._start("store"))
        self._keepers = [asyncio.create_task(self._keep(slot), name=slot.name) for slot in self.slots]
        await self.ready()

    async def add(self, slots: Sequence[Slot]) -> None:
        """More workers, beside the others; returns when they are ready."""
        self.slots += slots
        self._keepers += [asyncio.create_task(self._keep(slot), name=slot.name) for slot in slots]
        await self.ready()

    async def stop(self) -> None:
        """End all of it."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        children = [slot.child for slot in self.slots if slot.child] + list(self._parts.values())
        await asyncio.gather(*(child.stop() for child in children))

    async def ready(self, timeout_s: float = START_S) -> None:
        """Wait until every worker has joined its group."""
        deadline = time.monotonic() + timeout_s
        while not {slot.pid for slot in self.slots} <= self.ready_pids():
            assert time.monotonic() < deadline, f"the workers are not ready after {timeout_s:.0f} s; see {self.folder}"
            await asyncio.sleep(0.2)

    def ready_pids(self) -> set[int]:
        """The processes of workers that are ready."""
        return {state.pid for state in runtime.workers(self.folder) if state.state == "ready"}

    def kill(self, slot: Slot) -> None:
        """SIGKILL to a worker."""
        assert slot.child
        slot.child.kill()
        self.killed[slot.stage] += 1

    async def kill_part(self, name: str, away_s: float) -> None:
        """SIGKILL to Kafka or to the store, which stays away for a while."""
        child = self._parts[name]
        child.kill()
        await child.wait()
        self.killed[name] += 1
        await asyncio.sleep(away_s)
        await self._start(name)

    def fired(self) -> list[str]:
        """The armed fault points that have ended their process: ``stage-point-nth``."""
        return sorted(path.name for path in (self.folder / "faults").glob("*-*-*"))

    async def _start(self, name: str) -> None:
        if name == "kafka":
            self._parts[name], _ = await start_kafka(self.folder, port=self._kafka_port)
        else:
            self._parts[name], _ = await start_milvus(self.folder, port=self._milvus_port)

    async def _keep(self, slot: Slot) -> None:
        command = [sys.executable, "-m", "streams", "worker", "--stage", slot.stage]
        while True:
            log = self.folder / "logs" / f"{slot.name}.log"
            slot.child = Child.start(slot.name, command, log=log, env={**self._env(), **slot.env})
            code = await slot.child.wait()
            runtime.forget_worker(self.folder, slot.child.pid)
            self.exits[f"{slot.stage} {code}"] += 1
            await asyncio.sleep(0.1)

    def _env(self) -> dict[str, str]:
        return {
            "SENSORIUM_DATA_DIR": str(self.folder),
            "SENSORIUM_KAFKA": self.kafka,
            "SENSORIUM_MILVUS": self.milvus,
            "SENSORIUM_PROFILE": "fake",
            "SENSORIUM_GENERATOR": "extractive",
            "OMP_NUM_THREADS": "1",
            **self._extra,
        }

    @asynccontextmanager
    async def publishing(self) -> AsyncIterator[Publishing]:
        """A producer of somebody else's, which waits for Kafka's word and tries again while Kafka is away."""
        producer = AIOKafkaProducer(bootstrap_servers=self.kafka, acks="all", enable_idempotence=True)
        await producer.start()
        try:
            yield Publishing(producer)
        finally:
            await producer.stop()


class Publishing:
    """Sends records, in order."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer

    async def send(self, record: tuple[str, bytes, bytes, list[tuple[str, bytes]]]) -> Any:
        """Returns once Kafka has it."""
        topic, key, value, headers = record
        return await self._producer.send_and_wait(topic, value=value, key=key, headers=headers)

    async def send_all(self, records: Iterable[tuple[str, Any, Any, Any]]) -> None:
        """All at once, in order; returns once Kafka has them."""
        sent = [
            await self._producer.send(topic, value=value, key=key, headers=headers)
            for topic, key, value, headers in records
        ]
        await asyncio.gather(*sent)


@asynccontextmanager
async def plant(
    folder: Path, *, env: Mapping[str, str] | None = None, twice: Sequence[str] = TWICE
) -> AsyncIterator[Plant]:
    """A running plant in ``folder``."""
    slots = [Slot(f"{stage}-{number}", stage) for number, stage in enumerate((*STAGES, *twice))]
    found = Plant(folder, env or {}, slots)
    try:
        await found.start()
        yield found
    finally:
        await found.stop()
