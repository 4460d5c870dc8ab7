"""From a stream's own time line to wall-clock time.

A sender's clock (RTCP, the playlist's program date) is used when it is there and believable; else the moment of
arrival: a frame cannot have happened after it arrived, so the packet that came quickest within the last minute fixes
the relation. That survives the burst with which servers greet a new client, and follows a drifting sender.
"""

from __future__ import annotations

from collections import deque

from workers.feed.packets import ClockOrigin

WINDOW_S = 60.0
BUCKET_S = 5.0
EARLY_S = 2.0
"""How far the sender's clock may run ahead of ours."""
LATE_S = 60.0
"""How far behind ours it may be: network, encoder, playlist. Cameras with a dead battery are years behind."""


class WallClock:
    """The wall clock of one epoch."""

    def __init__(self) -> None:
        self._quickest: deque[tuple[float, float]] = deque()  # (start of the bucket, smallest arrival - stream time)
        self._sender_s: float | None = None
        self.origin: ClockOrigin = "arrival"

    def see(self, stream_s: float, arrived_s: float) -> None:
        """A packet with time stamp ``stream_s`` arrived at ``arrived_s``, seconds since the epoch."""
        offset_s = arrived_s - stream_s
        if not self._quickest or arrived_s - self._quickest[-1][0] >= BUCKET_S:
            self._quickest.append((arrived_s, offset_s))
        elif offset_s < self._quickest[-1][1]:
            self._quickest[-1] = (self._quickest[-1][0], offset_s)
        while arrived_s - self._quickest[0][0] > WINDOW_S:
            self._quickest.popleft()

    def believe(self, offset_s: float, origin: ClockOrigin) -> bool:
        """Take the sender's word that stream time 0 was at ``offset_s``, if arrivals do not speak against it."""
        arrival_s = self._arrival_s()
        if not arrival_s - LATE_S <= offset_s <= arrival_s + EARLY_S:
            return False
        self._sender_s, self.origin = offset_s, origin
        return True

    def wall_ms(self, stream_s: float) -> int:
        """Wall clock of a moment of the stream, milliseconds since the epoch. At least one packet was seen."""
        offset_s = self._sender_s if self._sender_s is not None else self._arrival_s()
        return round((offset_s + stream_s) * 1000)

    def _arrival_s(self) -> float:
        return min(offset for _, offset in self._quickest)
