"""Encode a track anew, so that it can be cut: small H.264 with a key frame every second, or FLAC.

In: packets that MP4 does not hold, or whose key frames are too far apart. Out: packets on the same time line. Pictures
are at most 640 wide and 12 a second: the models look at a few frames of a shot, and they need the cores more.
Raises ``InvalidMedia`` when the track cannot be decoded at all; single broken frames are left out.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Protocol

import av

from workers.errors import InvalidMedia
from workers.feed.packets import Kind, Packet, Track

WIDTH = 640
FRAMES_PER_S = 12
SAMPLE_RATE = 48_000
HOPELESS = 200
"""So many packets in a row that the decoder refuses are no accident."""
TIME_BASE = Fraction(1, 90_000)
X264 = {"preset": "veryfast", "tune": "zerolatency", "crf": "26"}


class Recoder(Protocol):
    """A track's way through a decoder and an encoder."""

    def recode(self, packet: Packet | None) -> Iterator[Packet]:
        """What comes out for the next packet: nothing, one packet or some; ``None`` asks for what is still inside."""

    def track(self) -> Track:
        """The new track; known once the first packet has come out."""


def recoder(track: Track) -> Recoder:
    """The recoder for ``track``. Raises ``InvalidMedia`` when no decoder takes its codec."""
    if track.stream.codec_context is None:
        raise InvalidMedia(f"no decoder for {track.codec}")
    return VideoRecoder(track) if track.kind == "video" else AudioRecoder(track)


class _Decoder:
    """Decodes packets; frames that are broken, or refer to some that never came, are skipped."""

    def __init__(self, track: Track) -> None:
        self._context = track.stream.codec_context
        self._context.thread_count = 1
        self._context.flush_buffers()  # an epoch before may have drained it
        self._codec = track.codec
        self._refused = 0
        self._time_base = TIME_BASE
        self.arrived_s = 0.0
        """When the latest packet came."""

    def frames(self, packet: Packet | None) -> list[Any]:
        """What comes out for the next packet; ``None``: what is still inside."""
        copy: av.Packet[Any] | None = None
        if packet is not None:
            copy = av.Packet(packet.data)
            copy.time_base = packet.time_base
            copy.pts, copy.dts, copy.duration = packet.pts, packet.dts, packet.duration
            self.arrived_s, self._time_base = packet.arrived_s, packet.time_base
        try:
            frames = list(self._context.decode(copy))
        except av.error.FFmpegError as error:
            self._refused += 1
            if self._refused >= HOPELESS:
                raise InvalidMedia(f"{self._codec} cannot be decoded: {error.strerror}") from error
            return []
        self._refused = 0
        for frame in frames:
            frame.time_base = self._time_base  # PyAV leaves it out of what was still inside
        return frames


class VideoRecoder:
    """Pictures, smaller and fewer."""

    def __init__(self, track: Track) -> None:
        self._decoder = _Decoder(track)
        self._holder = av.open(io.BytesIO(), "w", format="mp4")
        self._encoder: Any = None
        self._next_s = float("-inf")

    def recode(self, packet: Packet | None) -> Iterator[Packet]:
        for frame in self._decoder.frames(packet):
            if frame.pts is not None and float(frame.pts * frame.time_base) >= self._next_s:
                yield from self._encoded(self._small(frame))
        if packet is None and self._encoder is not None:
            yield from self._encoded(None)

    def track(self) -> Track:
        return Track("video", self._encoder.codec_context.name, self._encoder)

    def _small(self, frame: Any) -> Any:
        self._next_s = float(frame.pts * frame.time_base) + 0.9 / FRAMES_PER_S  # 0.9: time stamps jitter
        if self._encoder is None:
            self._encoder = self._open(frame)
        small = frame.reformat(width=self._encoder.width, height=self._encoder.height, format="yuv420p")
        small.pts, small.time_base = round(frame.pts * frame.time_base / TIME_BASE), TIME_BASE
        small.pict_type = 0  # the encoder decides, not the stream that it came from
        return small

    def _encoded(self, frame: Any) -> Iterator[Packet]:
        for encoded in self._encoder.encode(frame):
            yield _packed("video", encoded, self._decoder.arrived_s, duration=round(1 / FRAMES_PER_S / TIME_BASE))

    def _open(self, frame: Any) -> Any:
        width = min(WIDTH, frame.width) // 2 * 2
        height = max(2, round(frame.height * width / frame.width) // 2 * 2)
        name = "libx264" if "libx264" in av.codecs_available else "mpeg4"  # builds without GPL parts have no x264
        options = X264 if name == "libx264" else {"qscale": "5"}
        stream: Any = self._holder.add_stream(name, rate=FRAMES_PER_S, options=options, width=width, height=height)
        stream.codec_context.gop_size = FRAMES_PER_S
        stream.codec_context.max_b_frames = 0
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = TIME_BASE if name == "libx264" else Fraction(1, 60_000)
        self._holder.start_encoding()
        return stream


class AudioRecoder:
    """Sound without loss: 16 bits, at most two channels and 48 kHz."""

    def __init__(self, track: Track) -> None:
        self._decoder = _Decoder(track)
        self._holder = av.open(io.BytesIO(), "w", format="mp4")
        self._encoder: Any = None
        self._resampler: Any = None

    def recode(self, packet: Packet | None) -> Iterator[Packet]:
        for frame in self._decoder.frames(packet):
            if self._encoder is None:
                self._open(frame)
            yield from self._encoded(frame)
        if packet is None and self._encoder is not None:
            yield from self._encoded(None)

    def track(self) -> Track:
        return Track("audio", "flac", self._encoder)

    def _encoded(self, frame: Any) -> Iterator[Packet]:
        for piece in self._resampler.resample(frame):
            for encoded in self._encoder.encode(piece):
                yield _packed("audio", encoded, self._decoder.arrived_s, duration=encoded.duration)

    def _open(self, frame: Any) -> None:
        rate = min(SAMPLE_RATE, frame.sample_rate)
        layout = "mono" if frame.layout.nb_channels == 1 else "stereo"
        stream: Any = self._holder.add_stream("flac", rate=rate, layout=layout, format="s16")
        self._holder.start_encoding()
        self._encoder = stream
        self._resampler = av.AudioResampler("s16", layout, rate, frame_size=stream.codec_context.frame_size)


def _packed(kind: Kind, encoded: Any, arrived_s: float, *, duration: int) -> Packet:
    dts = encoded.dts if encoded.dts is not None else encoded.pts
    base = encoded.time_base
    return Packet(kind, encoded.pts, dts, duration, base, bool(encoded.is_keyframe), bytes(encoded), arrived_s)
