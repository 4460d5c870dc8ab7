"""The thread that reads a stream, so that nothing we do makes the other side wait.

Reading blocks in FFmpeg for seconds; the thread and a buffer of bounded size stand between it and the work. When the
work cannot keep up, the newest packets are left out from one key frame to the next, and that is told.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from workers.feed.packets import Packet
from workers.feed.source import Source

MAX_BYTES = 64 * 1024 * 1024
POLL_S = 0.2


class Ended(Exception):
    """The stream ended by itself."""


class Reader:
    """Reads ``uri`` from ``start`` to ``stop``. ``skipped`` is told how many packets were left out."""

    def __init__(
        self,
        uri: str,
        *,
        skipped: Callable[[int], None],
        clock: Callable[[], float] = time.time,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._uri = uri
        self._told_skipped = skipped
        self._clock = clock
        self._max_bytes = max_bytes
        self._changed = threading.Condition()
        self._packets: deque[Packet] = deque()
        self._size = 0
        self._skipped = 0
        self._source: Source | None = None
        self._end: Exception | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed-reader", daemon=True)

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def source(self, timeout_s: float = POLL_S) -> Source | None:
        """The open stream, or ``None`` if that takes longer than ``timeout_s``. Raises what opening it raised."""
        with self._changed:
            self._changed.wait_for(lambda: self._source or self._end, timeout_s)
            if self._source is None and self._end is not None:
                raise self._end
            return self._source

    def get(self, timeout_s: float = POLL_S) -> Packet | None:
        """The next packet, or ``None`` if that takes longer than ``timeout_s``.

        Raises ``Ended`` at the end of the stream, ``FeedLost`` when it was lost; what came before is given first.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._packets or self._end, timeout_s)
            if self._packets:
                packet = self._packets.popleft()
                self._size -= len(packet.data)
                return packet
            if self._end is not None:
                raise self._end
            return None

    def stop(self) -> None:
        """Read no more. A thread that FFmpeg holds ends, and disconnects, when FFmpeg's time is up."""
        self._stopped.set()
        self._thread.join(POLL_S)
        with self._changed:
            if not self._thread.is_alive() and self._source is not None:
                self._source.close()
                self._source = None

    def _run(self) -> None:
        try:
            source = Source.open(self._uri, clock=self._clock)
            with self._changed:
                self._source = source
                self._changed.notify_all()
            self._read(source)
            self._finish(Ended())
        except Exception as error:  # not hidden: it is raised again in the thread that asks for packets
            self._finish(error)

    def _read(self, source: Source) -> None:
        origin: tuple[float, float] | None = None
        for packet in source.packets():
            if source.is_recording:  # the pace of real time: no packet before its moment
                origin = origin or (time.monotonic(), packet.decode_s)
                self._stopped.wait(max(0.0, origin[0] + packet.decode_s - origin[1] - time.monotonic()))
            if self._stopped.is_set():
                return
            self._put(packet, resumes=packet.is_key and (packet.kind == "video" or "video" not in source.tracks))

    def _put(self, packet: Packet, *, resumes: bool) -> None:
        with self._changed:
            is_full = self._size + len(packet.data) > self._max_bytes
            if is_full or (self._skipped and not resumes):
                self._skipped += 1
                return
            skipped, self._skipped = self._skipped, 0
            self._packets.append(packet)
            self._size += len(packet.data)
            self._changed.notify_all()
        if skipped:
            self._told_skipped(skipped)

    def _finish(self, end: Exception) -> None:
        with self._changed:
            self._end = end
            self._changed.notify_all()
