"""Apache Kafka killed under running workers and back after a while: they hold their place and go on by themselves.

``OUTAGE_S`` is how long it is away: 6 seconds here, a minute and more for the full form.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streams.admin import ensure_topics, topic_sizes
from streams.child import Child
from streams.kafka_java import start_kafka
from streams.publisher import Publisher
from streams.topics import CHUNKS_EMBEDDED, CHUNKS_INDEXED, DEAD_LETTERS
from tests.conftest import needs_kafka
from tests.streams.brokers import committed, publish, until_read
from tests.streams.processes import Start, ended

OUTAGE_S = float(os.environ.get("OUTAGE_S", "6"))

pytestmark = [pytest.mark.e2e, *needs_kafka, pytest.mark.timeout(240 + 2 * OUTAGE_S)]


class Broker:
    """One Kafka on one port, which can be killed and started again."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._child: Child | None = None
        self.bootstrap = ""

    async def start(self) -> None:
        port = int(self.bootstrap.rpartition(":")[2] or 0)
        self._child, self.bootstrap = await start_kafka(self._data_dir, port=port)

    async def kill(self) -> None:
        assert self._child
        self._child.kill()
        await self._child.wait()

    async def stop(self) -> None:
        if self._child:
            await self._child.stop()


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    broker = Broker(tmp_path)
    await broker.start()
    await ensure_topics(broker.bootstrap)
    yield broker
    await broker.stop()


@pytest.fixture
def bootstrap(broker: Broker) -> str:
    return broker.bootstrap


async def test_workers_outlive_their_broker(
    start: Start, broker: Broker, bootstrap: str, publisher: Publisher, tmp_path: Path
) -> None:
    names = [f"d{number}" for number in range(90)]
    worker = await start("embed", "index", EMBED_SECONDS="0.2")
    await publish(publisher, *names[:60])
    await asyncio.sleep(1)  # it is in the middle of them
    await broker.kill()
    await asyncio.sleep(OUTAGE_S)
    assert worker.returncode is None
    assert resident_mib(worker.pid) < 300
    await broker.start()
    await publish(publisher, *names[60:])
    await until_read(bootstrap, CHUNKS_EMBEDDED, set(names))
    await until_read(bootstrap, CHUNKS_INDEXED, set(names))
    os.kill(worker.pid, signal.SIGTERM)
    assert await ended(worker) == 0  # the very process that was there before
    assert await committed(bootstrap, "embed") == 90
    assert (await topic_sizes(bootstrap))[DEAD_LETTERS.name] == 0


async def test_sigterm_ends_a_worker_whose_broker_is_away(start: Start, broker: Broker, publisher: Publisher) -> None:
    worker = await start("embed", EMBED_SECONDS="0.2", SENSORIUM_DRAIN_TIMEOUT_S="3")
    await publish(publisher, *[f"d{number}" for number in range(40)])
    await asyncio.sleep(1)
    await broker.kill()
    await asyncio.sleep(1)
    os.kill(worker.pid, signal.SIGTERM)
    assert await asyncio.wait_for(worker.wait(), 3 + 4 + 2) == 0
    await broker.start()


def resident_mib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) // 1024
