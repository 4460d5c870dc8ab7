"""One connection to a live stream, from its first packet to its last.

In: an address. Out: segments, and events about what happened. Ends when the stream does or when it is told to stop, and
gives what was not cut yet. Raises ``FeedLost`` when the other side went away, ``InvalidMedia`` when it can be no feed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

from workers.feed.epoch import Carry, Epoch
from workers.feed.events import Tell, happened
from workers.feed.packets import Kind, Packet, Segment
from workers.feed.reader import Ended, Reader
from workers.feed.source import SILENT_S, FeedLost, Source
from workers.feed.uri import masked

JUMP_S = 5.0
"""A time stamp so far from the one before breaks the time line."""
BACKWARD_S = 1.0
"""One so far back does, too: less is the usual disorder between the tracks."""

SessionEnd = Literal["ended", "stopped"]


class Session:
    """Call ``run`` in a thread of its own; ``emit`` and ``tell`` are called from there."""

    def __init__(
        self,
        uri: str,
        carry: Carry,
        *,
        length_s: float,
        overlap_s: float,
        emit: Callable[[Segment], None],
        tell: Tell,
        stop: threading.Event,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._uri = uri
        self._carry = carry
        self._length_s = length_s
        self._overlap_s = overlap_s
        self._emit = emit
        self._tell = tell
        self._stop = stop
        self._clock = clock
        self._reader = Reader(uri, skipped=self._skipped, clock=clock)
        self._epoch: Epoch | None = None
        self._last_s: dict[Kind, float] = {}
        self._heard_s: dict[Kind, float] = {}
        self.delivered = False
        """Whether the connection gave packets."""

    def run(self) -> SessionEnd:
        """Read until the end."""
        self._reader.start()
        try:
            while (source := self._reader.source()) is None:
                if self._stop.is_set():
                    return "stopped"
            try:
                return self._read(source)
            finally:
                self._close_epoch()
        finally:
            self._reader.stop()

    def _read(self, source: Source) -> SessionEnd:
        if source.is_recording and self._carry.was_live:
            return "ended"  # the broadcast is over, and what is left of it was heard already
        self._carry.was_live = not source.is_recording
        self._heard_s = dict.fromkeys(source.tracks, self._clock())
        while not self._stop.is_set():
            try:
                packet = self._reader.get()
            except Ended:
                if source.is_recording:
                    return "ended"
                raise FeedLost(f"{masked(self._uri)}: the server closed the stream") from None
            if packet is not None:
                self._take(packet, source)
            if not source.is_recording:
                self._check_silence()
        return "stopped"

    def _take(self, packet: Packet, source: Source) -> None:
        self._heard_s[packet.kind] = packet.arrived_s
        if not self.delivered:
            self.delivered = True
            tracks = " and ".join(f"{kind} ({track.codec})" for kind, track in source.tracks.items())
            self._tell(happened("connected", f"connected to {masked(self._uri)}: {tracks}", tracks=tracks))
        last_s = self._last_s.get(packet.kind)
        if last_s is None and any(abs(packet.decode_s - other_s) > JUMP_S for other_s in self._last_s.values()):
            return  # the other track broke the time line; this one still comes from before
        if last_s is not None and not -BACKWARD_S < packet.decode_s - last_s < JUMP_S:
            self._close_epoch()
        if self._epoch is None:
            self._last_s.clear()
            self._epoch = Epoch(
                source.tracks,
                self._carry,
                length_s=self._length_s,
                overlap_s=self._overlap_s,
                tell=self._tell,
                sender_clock=source.sender_clock,
            )
        elif last_s is not None and packet.decode_s < last_s:
            return  # a straggler: its place in the time line is taken
        self._last_s[packet.kind] = packet.decode_s
        for segment in self._epoch.add(packet):
            self._emit(segment)

    def _check_silence(self) -> None:
        """A picture that stands still while the sound goes on is not live."""
        now_s = self._clock()
        for kind, heard_s in self._heard_s.items():
            if now_s - heard_s > SILENT_S:
                raise FeedLost(f"{masked(self._uri)}: no {kind} for {SILENT_S:g} s")

    def _close_epoch(self) -> None:
        epoch, self._epoch = self._epoch, None
        if epoch is not None:
            for segment in epoch.finish():
                self._emit(segment)

    def _skipped(self, packets: int) -> None:
        text = f"dropped {packets} packets: this machine does not keep up with the stream"
        self._tell(happened("dropped", text, packets=packets))
