"""Decoder processes: what they give, what they may not, and what becomes of a document that breaks one."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from structlog.testing import capture_logs

from tests.workers.sandbox import misdeeds
from workers.errors import InvalidEvent, InvalidMedia, LimitExceeded
from workers.sandbox.bounds import Bounds
from workers.sandbox.pool import Decoders, Document

MIB = 1024 * 1024
BOUNDS = Bounds(memory_mib=512, cpu_s=20, wall_s=40, total_s=60)
PACKAGES = ("workers", "schemas", "tests")


@pytest.fixture
def decoders() -> Iterator[Decoders]:
    made = Decoders(BOUNDS, packages=PACKAGES)
    yield made
    made.close()


@asynccontextmanager
async def opened(decoders: Decoders, data: bytes = b"x") -> AsyncIterator[Document]:
    async def load() -> bytes:
        return data

    async with decoders.document(load) as document:
        yield document


async def _called(decoders: Decoders, work: Callable[..., Any], *args: Any, data: bytes = b"x") -> Any:
    async with opened(decoders, data) as document:
        return await document.call(work, *args)


async def _check_good(decoders: Decoders) -> None:
    assert await _called(decoders, misdeeds.size, data=b"good") == 4


async def test_results_come_back_as_what_they_are(decoders: Decoders) -> None:
    found = await _called(decoders, misdeeds.found, "n" * 10_000 + "\u00e9\U0001f600")
    assert (found.name[-2:], len(found.name)) == ("\u00e9\U0001f600", 10_002)
    assert (found.numbers, found.share) == ((1, 2), None)
    assert found.pixels.tolist() == np.arange(12).reshape(2, 2, 3).tolist()


async def test_one_process_serves_many_documents(decoders: Decoders) -> None:
    ids = {await _called(decoders, misdeeds.process_id) for _ in range(5)}
    assert len(ids) == decoders.started == 1
    assert ids != {os.getpid()}
    assert await _called(decoders, misdeeds.heavy_modules) == []


@pytest.mark.parametrize("size", [0, 1, 5 * MIB, 40 * MIB])
async def test_documents_of_every_size_arrive(decoders: Decoders, size: int) -> None:
    assert await _called(decoders, misdeeds.size, data=bytes(size)) == size


async def test_a_big_result_arrives_and_fast(decoders: Decoders) -> None:
    async with opened(decoders) as document:
        await document.call(misdeeds.zeros, 1)
        began = time.perf_counter()
        assert len(await document.call(misdeeds.zeros, 100)) == 100 * MIB
        assert time.perf_counter() - began < 5


async def test_items_come_in_order_and_two_iterators_do_not_disturb_each_other(decoders: Decoders) -> None:
    async with (
        opened(decoders) as document,
        aclosing(document.each(misdeeds.numbers, 5)) as one,
        aclosing(document.each(misdeeds.numbers, 3)) as two,
    ):
        assert [await anext(one), await anext(two), await anext(one)] == [0, 0, 1]
        assert [number async for number in two] == [1, 2]
        assert [number async for number in one] == [2, 3, 4]


@pytest.mark.parametrize(
    ("work", "reason"),
    [
        (misdeeds.refuse, "it is broken"),
        (misdeeds.fail, "KeyError"),
        (misdeeds.halves, "UnicodeEncodeError"),
        (misdeeds.nonsense, "nonsense"),
        (misdeeds.no_number, "nonsense"),
        (misdeeds.noise, "talked|answered|too much"),
        (misdeeds.segfault, "died with SIGSEGV, twice"),
        (misdeeds.leave, "exited with 3, twice"),
    ],
)
async def test_a_document_that_breaks_its_decoder_is_refused(
    decoders: Decoders, work: Callable[..., Any], reason: str
) -> None:
    with pytest.raises(InvalidMedia, match=reason) as caught:
        await _called(decoders, work)
    assert caught.value.hint
    await _check_good(decoders)


async def test_a_crash_counts_only_if_it_repeats_on_a_fresh_process(decoders: Decoders) -> None:
    old = await _called(decoders, misdeeds.process_id)
    assert await _called(decoders, misdeeds.segfault_but_in, old) == 5
    assert decoders.started == 2


async def test_an_iterator_goes_on_where_its_process_died(decoders: Decoders) -> None:
    async with opened(decoders) as document:
        old = await document.call(misdeeds.process_id)
        assert [number async for number in document.each(misdeeds.number_until_killed, 10, old)] == list(range(10))
    assert decoders.started == 2
    with pytest.raises(InvalidMedia, match="SIGSEGV"):
        async with opened(decoders) as document:
            assert [number async for number in document.each(misdeeds.segfault_after, 3)] == []


async def test_a_process_that_dies_idle_is_nobodys_fault(decoders: Decoders) -> None:
    os.kill(await _called(decoders, misdeeds.process_id), signal.SIGKILL)
    await _check_good(decoders)


@pytest.mark.parametrize(
    ("work", "bounds", "setting"),
    [
        (misdeeds.spin, Bounds(512, cpu_s=1, wall_s=40, total_s=60), "DECODER_CPU_SECONDS"),
        (misdeeds.sleep, Bounds(512, cpu_s=20, wall_s=1, total_s=60), "DECODER_SECONDS"),
        (misdeeds.bomb, BOUNDS, "DECODER_MEMORY_MIB"),
        (misdeeds.one_allocation, BOUNDS, "DECODER_MEMORY_MIB"),
    ],
)
async def test_a_document_that_takes_too_much_is_refused(
    work: Callable[..., Any], bounds: Bounds, setting: str
) -> None:
    decoders = Decoders(bounds, packages=PACKAGES)
    began = time.monotonic()
    with pytest.raises(LimitExceeded, match="decoder_killed") as caught:
        await _called(decoders, work)
    assert setting in caught.value.hint
    assert time.monotonic() - began < 20
    assert decoders.started == 1, "what is known is not tried again"
    assert 0 < decoders.peak_bytes <= 512 * MIB
    await _check_good(decoders)
    decoders.close()


@pytest.mark.parametrize("work", [misdeeds.bomb_in_threads, misdeeds.shared_bomb])
async def test_memory_is_bounded_whatever_it_is_made_of(work: Callable[..., Any]) -> None:
    decoders = Decoders(Bounds(512, cpu_s=20, wall_s=2, total_s=60), packages=PACKAGES)
    with pytest.raises(InvalidEvent, match=r"decoder_killed|PermissionError"):
        await _called(decoders, work)
    assert 0 < decoders.peak_bytes <= 512 * MIB
    await _check_good(decoders)
    decoders.close()


async def test_long_work_that_gets_on_may_take_long_but_not_for_ever() -> None:
    decoders = Decoders(Bounds(512, cpu_s=5, wall_s=1.5, total_s=2.5), packages=PACKAGES)
    assert await _called(decoders, misdeeds.steady, 2.0) == 7
    with pytest.raises(LimitExceeded, match="in all"):
        await _called(decoders, misdeeds.steady, 30.0)
    decoders.close()


async def test_nothing_but_decoding_is_permitted(decoders: Decoders, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("secret")
    outcomes = await _called(decoders, misdeeds.attempts, str(tmp_path), os.getpid())
    assert len(outcomes) > 20
    assert [name for name, outcome in outcomes if outcome] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there"]
    assert (tmp_path / "there").read_text() == "secret"


async def test_the_environment_stays_with_the_worker(decoders: Decoders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSORIUM_MILVUS_TOKEN", "secret")
    names = await _called(decoders, misdeeds.environment)
    assert not [name for name in names if name.startswith("SENSORIUM")]


async def test_log_lines_reach_the_workers_log(decoders: Decoders) -> None:
    with capture_logs() as logs:
        await _called(decoders, misdeeds.log)
    assert [(line["event"], line["place"], line["log_level"]) for line in logs] == [
        ("something is odd", "3", "warning")
    ]


async def test_a_caller_that_is_cancelled_does_not_wait_for_a_hanging_decoder(decoders: Decoders) -> None:
    before = set(psutil.Process().children())  # other tests leave idle decoders behind
    task = asyncio.create_task(_called(decoders, misdeeds.sleep))
    await asyncio.sleep(1.5)
    (child,) = set(psutil.Process().children()) - before
    task.cancel()
    began = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - began < 5
    assert not child.is_running()
    await _check_good(decoders)


async def test_closing_early_keeps_the_process_and_leaves_no_task(decoders: Decoders) -> None:
    before = asyncio.all_tasks()
    async with opened(decoders) as document, aclosing(document.each(misdeeds.numbers, 10**6)) as numbers:
        assert await anext(numbers) == 0
    assert asyncio.all_tasks() == before
    await _check_good(decoders)
    assert decoders.started == 1


async def test_at_most_so_many_processes_and_first_come_first_served() -> None:
    decoders = Decoders(BOUNDS, processes=2, packages=PACKAGES)
    served: list[int] = []

    async def one(number: int) -> None:
        async with opened(decoders) as document:
            await document.call(misdeeds.steady, 0.05)
            served.append(number)

    await asyncio.gather(*(one(number) for number in range(8)))
    assert decoders.started == 2
    assert all(abs(number - place) <= 1 for place, number in enumerate(served))
    decoders.close()


async def test_a_wait_that_is_cancelled_passes_its_turn_on() -> None:
    decoders = Decoders(BOUNDS, processes=1, packages=PACKAGES)
    async with opened(decoders) as document:
        await document.call(misdeeds.size)
        waiting = [asyncio.create_task(_called(decoders, misdeeds.size)) for _ in range(2)]
        await asyncio.sleep(0.05)
        waiting[0].cancel()
    assert await waiting[1] == 1
    decoders.close()


async def test_close_leaves_no_process() -> None:
    before = set(psutil.Process().children())  # as above
    decoders = Decoders(BOUNDS, packages=PACKAGES)
    await decoders.warm()
    assert decoders.started == 1
    (child,) = set(psutil.Process().children()) - before
    decoders.close()
    assert not child.is_running()
    await _check_good(decoders)
    decoders.close()
    assert set(psutil.Process().children()) == before


def test_what_the_worker_leaves_when_it_is_killed(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "from tests.workers.sandbox import misdeeds, test_pool\n"
        "async def main():\n"
        "    decoders = test_pool.Decoders(test_pool.BOUNDS, packages=test_pool.PACKAGES)\n"
        "    await decoders.warm()\n"
        "    async with test_pool.opened(decoders) as document:\n"
        "        print(await document.call(misdeeds.process_id), flush=True)\n"
        "        await document.call(misdeeds.spin)\n"
        "asyncio.run(main())\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment) as worker:
        assert worker.stdout is not None
        child = psutil.Process(int(worker.stdout.readline()))
        time.sleep(0.2)
        assert child.is_running()
        worker.kill()
        worker.wait()
    deadline = time.monotonic() + 5
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)
