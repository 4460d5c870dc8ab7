"""What flows through a feed: tracks, packets, cuts and segments. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

Kind = Literal["video", "audio"]
ClockOrigin = Literal["rtcp", "program-date-time", "arrival"]
"""Where wall-clock time comes from: the sender's RTCP reports, the playlist, or the moment of arrival here."""


@dataclass(frozen=True, slots=True)
class Track:
    """The picture or the sound of a stream. A feed has at most one of each."""

    kind: Kind
    codec: str
    stream: Any
    """The PyAV stream whose parameters a segment's stream copies: the demuxer's, or an encoder's."""


@dataclass(frozen=True, slots=True)
class Packet:
    """An encoded frame. ``pts``, ``dts`` and ``duration`` are in units of ``time_base`` seconds."""

    kind: Kind
    pts: int
    dts: int
    duration: int
    time_base: Fraction
    is_key: bool
    data: bytes
    arrived_s: float
    """Wall clock of this machine, seconds since the epoch."""

    @property
    def start_s(self) -> float:
        """When it is shown or heard, on the stream's own time line."""
        return float(self.pts * self.time_base)

    @property
    def end_s(self) -> float:
        """When it ends, on the stream's own time line."""
        return float((self.pts + self.duration) * self.time_base)

    @property
    def decode_s(self) -> float:
        """When it is decoded; never falls from packet to packet of a track."""
        return float(self.dts * self.time_base)


@dataclass(frozen=True, slots=True)
class Cut:
    """The packets of one segment, in the order in which they came; times on the stream's own time line."""

    packets: tuple[Packet, ...]
    begin_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Segment:
    """One document to be: a file of its own and the wall-clock time of its first frame."""

    data: bytes
    content_type: str
    start_ms: int
    end_ms: int
    epoch_ms: int
    """Wall clock of the first segment of its epoch; a new epoch begins whenever the time line is broken."""
    sequence: int
    clock: ClockOrigin
    arrived_s: float
    """When its last packet came."""
