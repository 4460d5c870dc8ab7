"""What a process leaves behind when it dies, and who works alone after that."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from streams.ledger import KEPT_S, Ledger, Turns
from streams.record import Record

DIES = """
import os, signal, sys
from pathlib import Path
from streams.ledger import Ledger
from streams.record import Record
ledger = Ledger(Path(sys.argv[1]), lanes=2)
records = [Record("t", None, partition=0, offset=offset, timestamp_ms=7) for offset in range(4)]
ledger.begin(0, records[:2])
ledger.end(0)
ledger.begin(0, records[2:3])
ledger.begin(1, records[3:])
if sys.argv[2] == "alone":
    ledger.end(0)
    ledger.attempt(records[3])
os.kill(os.getpid(), int(sys.argv[3]))
"""


def record(offset: int, timestamp_ms: int = 7) -> Record:
    return Record("t", None, partition=0, offset=offset, timestamp_ms=timestamp_ms)


def die(folder: Path, how: str, number: int = signal.SIGSEGV) -> None:
    done = subprocess.run([sys.executable, "-c", DIES, str(folder), how, str(int(number))], check=False, timeout=30)
    assert done.returncode == -number


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT])
def test_what_was_in_work_is_suspect_and_nothing_else(tmp_path: Path, number: int) -> None:
    die(tmp_path, "together", number)
    ledger = Ledger(tmp_path)
    assert [ledger.is_suspect(record(offset)) for offset in range(4)] == [False, False, True, True]
    assert ledger.deaths(record(2)) == ledger.deaths(record(3)) == 0  # it was not alone
    assert not ledger.is_suspect(record(3, timestamp_ms=8))  # a topic that was made anew has the same offsets
    ledger.settle(record(2))
    ledger.close()
    again = Ledger(tmp_path)
    assert [again.is_suspect(record(offset)) for offset in (2, 3)] == [False, True]
    again.close()


def test_deaths_alone_are_counted_over_processes(tmp_path: Path) -> None:
    for _ in range(3):
        die(tmp_path, "alone")
    ledger = Ledger(tmp_path)
    assert ledger.deaths(record(3)) == 3
    ledger.settle(record(3))
    ledger.close()
    assert list(tmp_path.iterdir()) == []


def test_process_that_ends_by_itself_blames_nobody(tmp_path: Path) -> None:
    die(tmp_path, "together")
    ledger = Ledger(tmp_path)
    ledger.attempt(record(2))
    assert ledger.deaths(record(2)) == 1
    ledger.begin(0, [record(9)])
    ledger.close()
    again = Ledger(tmp_path)
    assert again.deaths(record(2)) == 0
    assert again.is_suspect(record(2))
    assert not again.is_suspect(record(9))
    again.close()


def test_living_process_keeps_its_account_and_suspects_are_shared(tmp_path: Path) -> None:
    living = Ledger(tmp_path)
    living.begin(0, [record(1)])
    other = Ledger(tmp_path)
    assert not other.is_suspect(record(1))
    die(tmp_path, "together")
    third = Ledger(tmp_path)
    assert third.is_suspect(record(2))
    assert not other.is_suspect(record(2))
    other.reload()  # when partitions come
    assert other.is_suspect(record(2))
    for ledger in (living, other, third):
        ledger.close()


def test_suspects_that_nobody_met_are_forgotten(tmp_path: Path) -> None:
    die(tmp_path, "together")
    Ledger(tmp_path).close()
    old = time.time() - KEPT_S - 1
    for path in tmp_path.iterdir():
        os.utime(path, (old, old))
    ledger = Ledger(tmp_path)
    assert not ledger.is_suspect(record(2))
    ledger.close()
    assert list(tmp_path.iterdir()) == []


def test_account_costs_a_batch_next_to_nothing(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    batch = [record(offset) for offset in range(32)]
    began = time.process_time()
    for _ in range(1000):
        ledger.begin(0, batch)
        ledger.end(0)
    assert (time.process_time() - began) / 1000 < 0.001
    ledger.close()


async def test_alone_means_that_nobody_else_works() -> None:
    turns, log = Turns(), []

    async def work(name: str, *, alone: bool = False) -> None:
        async with turns.take(alone=alone):
            log.append(f"{name} begins")
            await asyncio.sleep(0.01)
            log.append(f"{name} ends")

    async with asyncio.TaskGroup() as group:
        for name in ("a", "b"):
            group.create_task(work(name))
        await asyncio.sleep(0.001)
        group.create_task(work("suspect", alone=True))
        await asyncio.sleep(0.001)
        group.create_task(work("c"))  # comes later, waits for its turn
        group.create_task(work("other suspect", alone=True))
    assert log[:2] == ["a begins", "b begins"]
    assert set(log[2:4]) == {"a ends", "b ends"}
    rest = log[4:]
    assert sorted(rest[::2]) == ["c begins", "other suspect begins", "suspect begins"]
    assert [line.removesuffix(" begins") for line in rest[::2]] == [line.removesuffix(" ends") for line in rest[1::2]]


async def test_turn_that_is_cancelled_while_it_waits_leaves_the_way_free() -> None:
    turns = Turns()
    async with turns.take(alone=False):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), turns.take(alone=True):
                raise AssertionError("it was not alone")
    async with asyncio.timeout(1), turns.take(alone=False):
        pass
