"""Blocking work off the event loop, without leaving any of it behind when a task is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Final, TypeVar

T = TypeVar("T")
_END: Final = object()


async def in_thread(fn: Callable[..., T], *args: object) -> T:
    """``fn(*args)`` in a thread. When cancelled it still waits for the call's end: a thread cannot be stopped."""
    task = asyncio.ensure_future(asyncio.to_thread(fn, *args))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # retrieved: nobody waits for it any more
        raise


async def steps(iterator: Iterator[T]) -> AsyncGenerator[T, None]:
    """The items of a blocking iterator, each made in a thread, one ahead of what the consumer works on.

    Closing it closes the iterator, after the step under way has ended.
    """
    ahead: asyncio.Task[T | object] = asyncio.create_task(in_thread(next, iterator, _END))
    try:
        while (item := await ahead) is not _END:
            ahead = asyncio.create_task(in_thread(next, iterator, _END))
            yield item  # type: ignore[misc]  # not the end mark, so a T
    finally:
        if not ahead.done():
            await asyncio.wait([ahead])
        if not ahead.cancelled():
            ahead.exception()
        close = getattr(iterator, "close", None)
        if close is not None:
            await in_thread(close)
