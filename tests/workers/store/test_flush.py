"""When milvus-lite is flushed."""

from __future__ import annotations

import asyncio

import structlog

from workers.errors import TransientError
from workers.store.flush import Flusher, FlushPolicy


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_nothing_written_nothing_due() -> None:
    assert FlushPolicy(Clock()).wait_s() is None


def test_due_at_once_after_enough_rows() -> None:
    policy = FlushPolicy(Clock(), rows=10)
    policy.wrote(9)
    assert policy.wait_s() == 1.0
    policy.wrote(1)
    assert policy.wait_s() == 0.0


def test_due_when_idle_and_further_writes_put_it_off() -> None:
    clock = Clock()
    policy = FlushPolicy(clock, idle_s=1.0)
    policy.wrote(1)
    clock.now += 0.75
    policy.wrote(1)
    assert policy.wait_s() == 1.0
    clock.now += 1.5
    assert policy.wait_s() == 0.0


def test_what_is_written_during_a_flush_waits_for_the_next() -> None:
    policy = FlushPolicy(Clock(), rows=10)
    policy.wrote(10)
    assert policy.begin() == 10
    policy.wrote(3)
    assert policy.pending == 3


def test_a_failed_flush_is_due_again_later() -> None:
    clock = Clock()
    policy = FlushPolicy(clock, rows=10, idle_s=1.0)
    policy.wrote(10)
    policy.failed(policy.begin())
    assert (policy.pending, policy.wait_s()) == (10, 1.0)
    clock.now += 1.0
    assert policy.wait_s() == 0.0


async def test_the_flusher_flushes_beside_the_writes_and_at_the_end() -> None:
    flushed = asyncio.Event()
    count = 0

    async def flush() -> None:
        nonlocal count
        count += 1
        flushed.set()

    clock = Clock()  # stands still: idle time never passes
    flusher = Flusher(flush, FlushPolicy(clock, rows=5))
    flusher.wrote(5)
    await asyncio.wait_for(flushed.wait(), 5)
    flusher.wrote(1)
    await flusher.stop()
    assert count == 2


async def test_a_store_that_is_away_does_not_end_the_flusher() -> None:
    attempts = 0

    async def flush() -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise TransientError("away")

    clock = Clock()
    flusher = Flusher(flush, FlushPolicy(clock, rows=1))
    with structlog.testing.capture_logs() as logs:
        flusher.wrote(1)
        await asyncio.sleep(0.01)
        await flusher.stop()
    assert attempts == 2
    assert logs[0]["reason"] == "away"
