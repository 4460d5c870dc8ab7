"""Blocking work leaves nothing behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from workers.extract.threads import in_thread, steps


async def test_items_come_in_order_and_the_iterator_is_closed() -> None:
    closed = threading.Event()

    def numbers() -> Iterator[int]:
        try:
            yield from range(5)
        finally:
            closed.set()

    assert [number async for number in steps(numbers())] == [0, 1, 2, 3, 4]
    assert closed.is_set()


async def test_closing_early_waits_for_the_step_under_way() -> None:
    events: list[str] = []
    may_go_on = threading.Event()

    def slow() -> Iterator[int]:
        try:
            yield 1
            may_go_on.wait(5)
            events.append("stepped")
            yield 2
        finally:
            events.append("closed")

    found = steps(slow())
    assert await anext(found) == 1
    asyncio.get_running_loop().call_later(0.05, may_go_on.set)
    await found.aclose()
    assert events == ["stepped", "closed"]


async def test_an_error_of_the_iterator_reaches_the_consumer() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    found = steps(broken())
    assert await anext(found) == 1
    with pytest.raises(ValueError, match="broken"):
        await anext(found)


async def test_a_cancelled_call_is_waited_for() -> None:
    began, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        may_end.wait(5)
        ended.set()

    task = asyncio.create_task(in_thread(work))
    await asyncio.to_thread(began.wait, 5)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
