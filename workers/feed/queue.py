"""Segments between the stream and the publisher: bounded, and the oldest give way.

In: segments from any thread. Out: segments for one coroutine. Raises nothing: a full queue drops whole oldest segments
and says which.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable

from workers.feed.packets import Segment


class SegmentQueue:
    """Segments that wait to be published; putting never blocks, and may come from any thread."""

    def __init__(self, dropped: Callable[[Segment], None], *, max_segments: int, max_bytes: int) -> None:
        self._dropped = dropped
        self._max_segments = max_segments
        self._max_bytes = max_bytes
        self._segments: deque[Segment] = deque()
        self._lock = threading.Lock()
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._closed = False

    def put(self, segment: Segment) -> None:
        """Add the newest segment; the oldest ones give way."""
        dropped = []
        with self._lock:
            self._segments.append(segment)
            while len(self._segments) > 1 and not self._fits():
                dropped.append(self._segments.popleft())
        for oldest in dropped:
            self._dropped(oldest)
        self._loop.call_soon_threadsafe(self._changed.set)

    async def get(self) -> Segment | None:
        """The oldest segment; ``None`` when the queue is closed and empty."""
        while True:
            with self._lock:
                if self._segments:
                    return self._segments.popleft()
                if self._closed:
                    return None
                self._changed.clear()
            await self._changed.wait()

    def close(self) -> None:
        """Nothing more will come."""
        self._closed = True
        self._changed.set()

    def __len__(self) -> int:
        return len(self._segments)

    def _fits(self) -> bool:
        size = sum(len(segment.data) for segment in self._segments)
        return len(self._segments) <= self._max_segments and size <= self._max_bytes
