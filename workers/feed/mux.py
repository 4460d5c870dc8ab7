"""A segment as a file of its own: MP4, by stream copy.

In: the packets of a cut and their tracks. Out: bytes and their content type. The file's time line begins with 0 at the
cut's begin. Raises ``InvalidMedia`` when the packets do not make a file.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from datetime import UTC, datetime

import av

from workers.errors import InvalidMedia
from workers.feed.packets import Cut, Kind, Packet, Track

COPYABLE: dict[Kind, frozenset[str]] = {
    "video": frozenset({"h264", "hevc", "av1", "vp9", "mpeg4", "mpeg2video"}),
    "audio": frozenset({"aac", "mp3", "opus", "flac", "ac3", "eac3", "alac"}),
}
"""What MP4 holds as it is; anything else is encoded anew."""


def mux(cut: Cut, tracks: Mapping[Kind, Track], *, start_ms: int, comment: str) -> tuple[bytes, str]:
    """The file and its content type: ``video/mp4``, or ``audio/mp4`` for sound alone."""
    buffer = io.BytesIO()
    used = {kind: track for kind, track in tracks.items() if any(p.kind == kind for p in cut.packets)}
    options = {} if "video" in used else {"brand": "M4A "}  # the brand tells sound from pictures at first sight
    try:
        with av.open(buffer, "w", format="mp4", options=options) as out:
            created = datetime.fromtimestamp(start_ms / 1000, UTC).isoformat(timespec="milliseconds")
            out.metadata.update(creation_time=created, comment=comment)
            streams = {kind: out.add_stream_from_template(track.stream, opaque=True) for kind, track in used.items()}
            last_dts: dict[Kind, int] = {}
            for packet in cut.packets:
                if packet.kind in last_dts and packet.dts <= last_dts[packet.kind]:
                    continue  # the muxer refuses time that stands still
                last_dts[packet.kind] = packet.dts
                out.mux(_rebased(packet, streams[packet.kind], cut.begin_s))
    except av.error.FFmpegError as error:
        raise InvalidMedia(f"a segment cannot be written as MP4: {error.strerror}") from error
    return buffer.getvalue(), "video/mp4" if "video" in used else "audio/mp4"


def _rebased(packet: Packet, stream: av.stream.Stream, begin_s: float) -> av.Packet[av.stream.Stream]:
    shift = round(begin_s / packet.time_base)
    copy: av.Packet[av.stream.Stream] = av.Packet(packet.data)
    copy.stream = stream
    copy.time_base = packet.time_base
    copy.pts, copy.dts = packet.pts - shift, packet.dts - shift
    copy.duration = packet.duration
    copy.is_keyframe = packet.is_key
    return copy
