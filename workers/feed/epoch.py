"""One unbroken time line: packets in, segments with wall-clock times out.

Chooses per track between copying and encoding anew, stamps each segment, and keeps the promises that reach over epochs:
wall time never runs backwards, what was published is not published again, a gap is told. Raises nothing for a single
bad segment: it is told as dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from workers.errors import InvalidMedia
from workers.feed.clock import WallClock
from workers.feed.cutter import Cutter, KeyFramesTooSparse
from workers.feed.events import Tell, happened
from workers.feed.mux import COPYABLE, mux
from workers.feed.packets import ClockOrigin, Cut, Kind, Packet, Segment, Track
from workers.feed.recode import Recoder, recoder

GAP_MS = 500
"""Less than this between two epochs is not worth a word."""


@dataclass
class Carry:
    """What one epoch leaves to the next, over all connections of a feed."""

    last_start_ms: int = 0
    covered_ms: int = 0
    """Up to here, wall clock, everything that came is in a segment; 0: nothing came yet."""
    was_live: bool = False
    """Whether a connection before was to a stream without an end."""


class Epoch:
    """Cuts and stamps the packets of one time line. ``sender_clock`` is asked until its answer is believable."""

    def __init__(
        self,
        tracks: Mapping[Kind, Track],
        carry: Carry,
        *,
        length_s: float,
        overlap_s: float,
        tell: Tell,
        sender_clock: Callable[[], tuple[float, ClockOrigin] | None] = lambda: None,
    ) -> None:
        self._tracks = dict(tracks)
        self._carry = carry
        self._length_s = length_s
        self._overlap_s = overlap_s
        self._tell = tell
        self._sender_clock = sender_clock
        self._wall = WallClock()
        self._cutter = self._new_cutter()
        self._recoders: dict[Kind, Recoder] = {
            kind: recoder(track) for kind, track in tracks.items() if track.codec not in COPYABLE[kind]
        }
        self._epoch_ms = 0
        self._sequence = 0

    def add(self, packet: Packet) -> Iterator[Segment]:
        """Take the next packet; gives the segments that it completes."""
        self._wall.see(packet.start_s, packet.arrived_s)
        into = self._recoders.get(packet.kind)
        for ready in into.recode(packet) if into else (packet,):
            yield from self._cut(ready)

    def finish(self) -> Iterator[Segment]:
        """The end of the time line: what is left."""
        for into in self._recoders.values():
            for ready in into.recode(None):
                yield from self._cut(ready)
        if cut := self._cutter.flush():
            yield from self._segment(cut)

    def _cut(self, packet: Packet) -> Iterator[Segment]:
        try:
            cut = self._cutter.add(packet)
        except KeyFramesTooSparse as sparse:
            yield from self._recut(str(sparse))
        else:
            if cut:
                yield from self._segment(cut)

    def _recut(self, reason: str) -> Iterator[Segment]:
        """The stream cannot be cut as it is: encode its pictures anew, beginning with those that wait in the cutter."""
        waiting = self._cutter.packets
        if "video" not in self._tracks or "video" in self._recoders:  # cut where it stands, without an overlap
            if cut := self._cutter.flush():
                yield from self._segment(cut)
            return
        self._recoders["video"] = recoder(self._tracks["video"])
        self._cutter = self._new_cutter()
        self._tell(happened("recoded", f"video is encoded anew from now on: {reason}", reason=reason))
        for packet in waiting:
            for ready in self._recoders["video"].recode(packet) if packet.kind == "video" else (packet,):
                yield from self._cut(ready)

    def _segment(self, cut: Cut) -> Iterator[Segment]:
        if self._wall.origin == "arrival" and (claim := self._sender_clock()):
            self._wall.believe(*claim)
        if self._wall.origin != "arrival" and self._wall.wall_ms(cut.end_s) <= self._carry.covered_ms:
            return  # after a reconnect, HLS gives once more what it gave before
        start_ms = max(self._wall.wall_ms(cut.begin_s), self._carry.last_start_ms + 1)
        end_ms = start_ms + round((cut.end_s - cut.begin_s) * 1000)
        if self._sequence == 0:
            self._begin(start_ms)
        tracks = {kind: self._recoders[kind].track() if kind in self._recoders else t for kind, t in self._used(cut)}
        comment = f"wall clock: {self._wall.origin}"
        try:
            data, content_type = mux(cut, tracks, start_ms=start_ms, comment=comment)
        except InvalidMedia as error:
            text = f"dropped a segment: {error.reason}"
            self._tell(happened("dropped", text, event_time_ms=start_ms, reason=error.reason, segments=1))
            return
        self._carry.last_start_ms, self._carry.covered_ms = start_ms, max(end_ms, self._carry.covered_ms)
        arrived_s = max(packet.arrived_s for packet in cut.packets)
        self._sequence += 1
        yield Segment(
            data, content_type, start_ms, end_ms, self._epoch_ms, self._sequence - 1, self._wall.origin, arrived_s
        )

    def _used(self, cut: Cut) -> list[tuple[Kind, Track]]:
        present = {packet.kind for packet in cut.packets}
        return [(kind, track) for kind, track in self._tracks.items() if kind in present]

    def _begin(self, start_ms: int) -> None:
        self._epoch_ms = start_ms
        missing_ms = start_ms - self._carry.covered_ms
        if self._carry.covered_ms and missing_ms > GAP_MS:
            text = f"nothing was received for {missing_ms / 1000:.1f} s"
            self._tell(happened("gap", text, from_ms=self._carry.covered_ms, to_ms=start_ms))

    def _new_cutter(self) -> Cutter:
        return Cutter(frozenset(self._tracks), length_s=self._length_s, overlap_s=self._overlap_s)
