"""When to flush milvus-lite: often enough that searches stay fast, seldom enough that writing does.

milvus-lite searches rows that are not flushed one by one in Python; 500 of them cost about as much as all flushed ones.
A flush takes about 50 ms. Milvus itself needs no help, and limits how often it may be flushed.
"""

from __future__ import annotations

from collections.abc import Callable


class FlushPolicy:
    """Due after ``rows`` writes, or when some writes have waited for ``idle_s`` seconds without a further one.

    ``clock`` gives monotonic seconds. Not thread-safe: it lives on one event loop.
    """

    def __init__(self, clock: Callable[[], float], *, rows: int = 500, idle_s: float = 1.0) -> None:
        self._clock = clock
        self._rows = rows
        self._idle_s = idle_s
        self._pending = 0
        self._last_write = clock()

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
        if self._pending >= self._rows:
            return 0.0
        return max(0.0, self._last_write + self._idle_s - self._clock())

    def begin(self) -> int:
        """A flush starts: what is written from now on waits for the next. Returns how many writes it covers."""
        covered, self._pending = self._pending, 0
        return covered

    def failed(self, covered: int) -> None:
        """The flush of ``covered`` writes did not happen; it is due again after ``idle_s``."""
        self.wrote(covered)
