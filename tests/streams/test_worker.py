"""Worker processes on a real broker: readiness, several stages in one, draining, crashes, restarts."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path

import pytest

from streams.child import Child
from streams.publisher import Publisher
from streams.runtime import workers
from streams.topics import CHUNKS_EMBEDDED, CHUNKS_INDEXED
from tests.streams.brokers import committed, publish, read

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]

Start = Callable[..., Coroutine[None, None, Child]]


@pytest.fixture
async def start(tmp_path: Path, bootstrap: str) -> AsyncIterator[Start]:
    """Starts worker processes and waits until they are ready; ends those that a failed test leaves behind."""
    children: list[Child] = []

    async def start(*stages: str, until_state: str = "ready", **env: str) -> Child:
        command = [sys.executable, "-m", "tests.streams.small_worker", *stages]
        settings = {
            "SENSORIUM_DATA_DIR": str(tmp_path),
            "SENSORIUM_KAFKA": bootstrap,
            "SENSORIUM_MILVUS": "http://127.0.0.1:1",
            "SENSORIUM_SESSION_TIMEOUT_S": "6",
            "SENSORIUM_BATCH_SIZE": "4",
        }
        log = tmp_path / f"worker-{len(children)}.log"
        children.append(Child.start("a worker", command, log=log, env={**settings, **env}))
        await until(lambda: state(tmp_path, children[-1].pid) == until_state)
        return children[-1]

    yield start
    for child in children:
        await child.stop()


def state(data_dir: Path, pid: int) -> str:
    return next((worker.state for worker in workers(data_dir) if worker.pid == pid), "unknown")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(40):
        while not condition():
            await asyncio.sleep(0.02)


async def ended(child: Child) -> int:
    return await asyncio.wait_for(child.wait(), 40)


async def test_two_stages_in_one_process(start: Start, bootstrap: str, publisher: Publisher, tmp_path: Path) -> None:
    began = time.monotonic()
    child = await start("embed", "index")
    assert time.monotonic() - began < 15
    await publish(publisher, "d0", "d1")
    indexed = await read(bootstrap, CHUNKS_INDEXED, 2)
    assert sorted(event.subject for event in indexed) == ["d0", "d1"]
    assert all([hop.stage for hop in event.trace.hops] == ["embed", "index"] for event in indexed)
    assert len({event.trace.traceparent[3:35] for event in indexed}) == 2
    os.kill(child.pid, signal.SIGTERM)
    assert await ended(child) == 0
    assert state(tmp_path, child.pid) == "unknown"
    assert await committed(bootstrap, "embed") == 2
    assert await committed(bootstrap, "index") == 2


async def test_sigterm_finishes_what_is_in_flight_and_commits_it(
    start: Start, bootstrap: str, publisher: Publisher, tmp_path: Path
) -> None:
    child = await start("embed", EMBED_SECONDS="1.5")
    await publish(publisher, *[f"d{number}" for number in range(30)])
    await asyncio.sleep(0.7)  # the first batch is in flight
    os.kill(child.pid, signal.SIGTERM)
    await until(lambda: state(tmp_path, child.pid) == "stopping")
    assert await ended(child) == 0
    done = await committed(bootstrap, "embed")
    assert 1 <= done <= 4  # one batch
    assert len(await read(bootstrap, CHUNKS_EMBEDDED, done)) == done
    assert not list((tmp_path / "run").glob("worker-*.json"))


async def test_fault_ends_the_process_with_1_and_its_log_names_the_event(
    start: Start, bootstrap: str, publisher: Publisher
) -> None:
    child = await start("embed")
    await publish(publisher, "fault")
    assert await ended(child) == 1
    assert await committed(bootstrap, "embed") == 0
    [line] = [line for line in log_of(child) if line["event"] == "batch.failed"]
    assert (line["stage"], line["document_id"], line["level"]) == ("embed", "fault", "error")
    assert line["trace_id"]
    assert "ZeroDivisionError" in line["exception"]


async def test_killed_worker_loses_nothing(start: Start, bootstrap: str, publisher: Publisher) -> None:
    child = await start("embed", EMBED_SECONDS="60")
    await publish(publisher, "d0", "d1", "d2")
    await asyncio.sleep(0.5)
    os.kill(child.pid, signal.SIGKILL)
    await ended(child)
    second = await start("embed")
    done = await read(bootstrap, CHUNKS_EMBEDDED, 3)
    assert sorted(event.subject for event in done) == ["d0", "d1", "d2"]
    os.kill(second.pid, signal.SIGTERM)
    assert await ended(second) == 0
    assert await committed(bootstrap, "embed") == 3


@pytest.mark.parametrize("kafka", ["away", "there"])
async def test_sigterm_while_it_starts_ends_it(start: Start, bootstrap: str, tmp_path: Path, kafka: str) -> None:
    address = bootstrap if kafka == "there" else "127.0.0.1:1"
    child = await start("embed", until_state="starting", SENSORIUM_KAFKA=address)
    await asyncio.sleep(0.5)
    os.kill(child.pid, signal.SIGTERM)
    assert await asyncio.wait_for(child.wait(), 10) == 0


async def test_work_that_cannot_be_drained_in_time_is_left_for_the_next_worker(
    start: Start, bootstrap: str, publisher: Publisher
) -> None:
    child = await start("embed", EMBED_SECONDS="60", SENSORIUM_DRAIN_TIMEOUT_S="0.5")
    await publish(publisher, "d0")
    await asyncio.sleep(0.5)
    os.kill(child.pid, signal.SIGTERM)
    assert await asyncio.wait_for(child.wait(), 10) == 0
    assert await committed(bootstrap, "embed") == 0


def log_of(child: Child) -> list[dict[str, str]]:
    return [json.loads(line) for line in child.log.read_text().splitlines() if line.startswith("{")]
