"""Connect to a stream and read its packets.

In: an address that PyAV opens. Out: its tracks and packets, blocking. Raises ``FeedLost`` when the other side is away
or went silent (try again), ``InvalidMedia`` when the address can never be a feed. No error carries a password.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer

from workers.errors import InvalidMedia, TransientError
from workers.feed import playlist
from workers.feed.packets import ClockOrigin, Kind, Packet, Track
from workers.feed.uri import device, masked, scheme

OPEN_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 5.0
SILENT_S = 20.0
"""A track without packets for so long is taken for lost. HLS may rightly be silent for the length of its segments."""

FORMATS = (
    "mpegts,hls,dash,rtsp,sdp,rtp,flv,live_flv,mov,mp4,matroska,webm,avi,asf,mpeg,mpjpeg,mjpeg,h264,hevc,"
    "wav,flac,mp3,aac,ogg,ac3,aiff,amr"
)
"""No ``concat`` and its like: a script that a server sends must not name files of this machine."""

NEVER = (
    av.error.FileNotFoundError,
    av.error.PermissionError,
    av.error.IsADirectoryError,
    av.error.ProtocolNotFoundError,
    av.error.DemuxerNotFoundError,
    av.error.HTTPUnauthorizedError,
    av.error.HTTPForbiddenError,
)
"""Errors at the first connection that no waiting cures."""


class FeedLost(TransientError):
    """The stream's other side is away, or silent; connect again."""


class Source:
    """An open stream: at most one picture and one sound."""

    def __init__(self, container: InputContainer, uri: str, *, clock: Callable[[], float] = time.time) -> None:
        self._container = container
        self._uri = masked(uri)
        self._clock = clock
        self._program_s: float | None = None
        self.tracks = _tracks(container)
        if not self.tracks:
            raise InvalidMedia(f"{self._uri} holds neither picture nor sound that can be read")
        is_playlist = "hls" in container.format.name
        known = container.duration is not None and container.duration > 0
        self.is_recording = known or (not is_playlist and not scheme(uri) and Path(uri).is_file())
        """It has an end: it is played at the pace of real time, and its end is no loss."""

    @classmethod
    def open(cls, uri: str, *, clock: Callable[[], float] = time.time) -> Source:
        """Connect. Blocks up to ``OPEN_TIMEOUT_S`` for the connection and as long for the first packets."""
        is_hls = scheme(uri) in {"http", "https"} and ".m3u8" in uri
        began_s = playlist.fetch_newest(uri) if is_hls else None
        source = cls(_connect(uri), uri, clock=clock)
        if began_s is not None and not source.is_recording:
            # FFmpeg begins with the newest segment (live_start_index). Should the playlist move on in the milliseconds
            # between our look and FFmpeg's, the time is off by one segment.
            source._program_s = began_s - source._container.start_time / av.time_base
        return source

    def sender_clock(self) -> tuple[float, ClockOrigin] | None:
        """When stream time 0 was by the sender's clock, seconds since the epoch, if the sender says so."""
        if self._program_s is not None:
            return self._program_s, "program-date-time"
        realtime_us = self._container.start_time_realtime
        return (realtime_us / 1_000_000, "rtcp") if realtime_us else None

    def packets(self) -> Iterator[Packet]:
        """Packets in the order of the stream until it ends. Those without a time stamp are left out."""
        kinds = {track.stream.index: kind for kind, track in self.tracks.items()}
        try:
            for packet in self._container.demux([track.stream for track in self.tracks.values()]):
                pts = packet.pts if packet.pts is not None else packet.dts
                if pts is None or not packet.size:
                    continue
                dts = packet.dts if packet.dts is not None else pts
                yield Packet(
                    kinds[packet.stream_index],
                    pts,
                    dts,
                    packet.duration or 0,
                    packet.time_base,
                    packet.is_keyframe,
                    bytes(packet),
                    self._clock(),
                )
        except av.error.FFmpegError as error:
            raise FeedLost(f"{self._uri}: {_reason(error, self._container.read_timeout)}") from None

    def close(self) -> None:
        """Disconnect. Nothing of the tracks may be used afterwards."""
        self._container.close()


def _connect(uri: str) -> InputContainer:
    """Open ``uri``; FFmpeg's errors repeat the address with its password, so they are not chained."""
    # Probing for the frame rate would hold back the first seconds.
    options = {"fpsprobesize": "0", "analyzeduration": "3000000", "rtsp_flags": "prefer_tcp", "live_start_index": "-1"}
    read_timeout_s = SILENT_S if ".m3u8" in uri else READ_TIMEOUT_S
    timeout = (OPEN_TIMEOUT_S, read_timeout_s)
    try:
        if named := device(uri):
            return av.open(named[1], "r", format=_input_format(named[0]), timeout=timeout)
        address = uri if scheme(uri) else f"file:{uri}"
        return av.open(address, "r", options=options | {"format_whitelist": FORMATS}, timeout=timeout)
    except NEVER as error:
        raise InvalidMedia(
            f"{masked(uri)}: {error.strerror}", hint="check the address, and user and password if it needs them"
        ) from None
    except (av.error.InvalidDataError, av.error.ArgumentError) as error:  # the second: none of FORMATS
        if scheme(uri) in {"", "http", "https"}:
            hint = "give an address of a stream: rtsp://…, http://….m3u8, http://….ts, udp://…, a device or a file"
            raise InvalidMedia(f"{masked(uri)} is not a stream of pictures or sound", hint=hint) from None
        raise FeedLost(f"{masked(uri)}: {error.strerror}") from None
    except av.error.FFmpegError as error:
        raise FeedLost(f"{masked(uri)}: {_reason(error, OPEN_TIMEOUT_S)}") from None


def _input_format(name: str) -> str:
    """``name``, if this build of PyAV has such a device."""
    try:
        return av.ContainerFormat(name, "r").name.split(",")[-1]
    except ValueError:
        raise InvalidMedia(f"PyAV is built without {name} devices") from None


def _reason(error: av.error.FFmpegError, timeout_s: Any) -> str:
    if isinstance(error, av.error.ExitError | av.error.TimeoutError):
        return f"nothing came for {timeout_s:g} s"
    return error.strerror or "connection lost"


def _tracks(container: InputContainer) -> dict[Kind, Track]:
    """The best picture and the best sound that can be decoded; a cover picture of a sound file is neither."""
    found: dict[Kind, Track] = {}
    kinds: tuple[Kind, Kind] = ("video", "audio")
    for kind in kinds:
        stream = container.streams.best(kind)
        if stream is None or stream.codec_context is None:
            continue
        if stream.disposition & av.stream.Disposition.attached_pic:
            continue
        found[kind] = Track(kind, stream.codec_context.codec.canonical_name, stream)
    return found
