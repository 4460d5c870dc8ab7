"""When to flush milvus-lite: often enough that searches stay fast, seldom enough that writing does.

milvus-lite searches rows that are not flushed one by one in Python: a hundred of them cost as much as thousands of
flushed ones. A flush takes about 50 ms. Milvus itself needs no help, and limits how often it may be flushed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from workers.errors import TransientError

log = structlog.get_logger(__name__)


class FlushPolicy:
    """Due after ``rows`` writes, or when some writes have waited for ``idle_s`` seconds without a further one.

    ``clock`` gives monotonic seconds. Not thread-safe: it lives on one event loop.
    """

    def __init__(self, clock: Callable[[], float], *, rows: int = 100, idle_s: float = 1.0) -> None:
        self._clock = clock
        self._rows = rows
        self._idle_s = idle_s
        self._pending = 0
        self._last_write = self._not_before = clock()

    @property
    def pending(self) -> int:
        """Writes since the last flush."""
        return self._pending

    def wrote(self, rows: int) -> None:
        """``rows`` rows were written or deleted."""
        self._pending += rows
        self._last_write = self._clock()

    def wait_s(self) -> float | None:
        """Seconds until a flush is due, 0 for now; ``None`` as long as nothing is written."""
        if self._pending == 0:
            return None
        due = self._not_before
        if self._pending < self._rows:
            due = max(due, self._last_write + self._idle_s)
        return max(0.0, due - self._clock())

    def begin(self) -> int:
        """A flush starts: what is written from now on waits for the next. Returns how many writes it covers."""
        covered, self._pending = self._pending, 0
        return covered

    def failed(self, covered: int) -> None:
        """The flush of ``covered`` writes did not happen; it is due again after ``idle_s``."""
        self._pending += covered
        self._not_before = self._clock() + self._idle_s


class Flusher:
    """Flushes beside the writes, as the policy says. ``flush`` may raise ``TransientError``: it is tried again."""

    def __init__(self, flush: Callable[[], Awaitable[None]], policy: FlushPolicy | None = None) -> None:
        self._flush = flush
        self._policy = policy or FlushPolicy(time.monotonic)
        self._changed = asyncio.Event()
        self._stopping = False
        self._task = asyncio.create_task(self._run(), name="flush")

    def wrote(self, rows: int) -> None:
        """``rows`` rows were written or deleted."""
        self._policy.wrote(rows)
        self._changed.set()

    async def stop(self) -> None:
        """Flush what is pending and end. Not by cancellation, which ``asyncio.wait_for`` in pymilvus may swallow."""
        self._stopping = True
        self._changed.set()
        await self._task

    async def _run(self) -> None:
        while not self._stopping:
            wait_s = self._policy.wait_s()
            if wait_s == 0.0:
                await self._flush_once()
                continue
            self._changed.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
            except TimeoutError:
                continue
        if self._policy.pending:
            await self._flush_once()

    async def _flush_once(self) -> None:
        covered = self._policy.begin()
        try:
            await self._flush()
        except TransientError as error:  # the rows are stored and searchable without it
            self._policy.failed(covered)
            log.warning("the store could not be flushed", reason=error.reason, rows=covered)
