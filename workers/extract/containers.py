"""Sound and video files: opened so that they can reach nothing else, and measured before anything is taken from them.

In: bytes and the content type that they were sniffed as. Out: an open PyAV container, or an ``Outline`` of it. Raises
``InvalidMedia`` (broken, cut off, nothing to play), ``LimitExceeded`` (seconds, pixels).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import av
from av.container import InputContainer
from av.stream import Disposition

from workers.errors import InvalidMedia, LimitExceeded
from workers.limits import Limits
from workers.sandbox.held import Data, file_of, head_of
from workers.sandbox.progress import beat

_DEMUXERS: Final = {
    "audio/wav": "wav",
    "audio/mpeg": "mp3",
    "audio/flac": "flac",
    "audio/aiff": "aiff",
    "audio/aac": "aac",
    "audio/ogg": "ogg",
    "video/ogg": "ogg",
    "audio/mp4": "mov",
    "video/mp4": "mov",
    "video/quicktime": "mov",
    "audio/webm": "matroska",
    "audio/x-matroska": "matroska",
    "video/webm": "matroska",
    "video/x-matroska": "matroska",
    "video/x-msvideo": "avi",
    "video/mp2t": "mpegts",
    "video/mpeg": "mpeg",
}
"""The one demuxer that may open a type. Others would follow scripts and playlists to files of this machine."""
_SOUND_ONLY: Final = {
    "video/mp4": "audio/mp4",
    "video/quicktime": "audio/mp4",
    "video/webm": "audio/webm",
    "video/x-matroska": "audio/x-matroska",
}
_SAYS_LENGTH = {"wav", "flac", "matroska", "avi"}
"""Demuxers whose duration is what the header promises, not what is there."""
_MISSING_SECONDS, _MISSING_SHARE = 1.0, 0.05
_HINT = "check the file; it may be cut"


@dataclass(frozen=True, slots=True)
class Outline:
    """What a file holds. ``start_s`` is the time stamp at which its time line begins; ``seconds`` is its length."""

    has_picture: bool
    has_sound: bool
    start_s: float
    seconds: float


@contextmanager
def opened(data: Data, content_type: str) -> Iterator[InputContainer]:
    """The container in ``data``. It is read from memory only: no other file, no network, no other format."""
    options = {"format_whitelist": _DEMUXERS[content_type], "protocol_whitelist": "pipe"}
    try:
        with av.open(file_of(data), "r", options=options, metadata_errors="replace") as container:
            yield container
    except MemoryError:  # PyAV's is both this and its own
        raise
    # PyAV raises its own errors and, for some fields of a broken header, plain ones.
    except (av.FFmpegError, OverflowError, UnicodeDecodeError) as error:
        raise InvalidMedia(f"the {content_type} file cannot be read: {error}", hint=_HINT) from error


def settled(data: Data, content_type: str) -> str:
    """The type of a container by what it holds: a ``video/mp4`` without a video track is ``audio/mp4``."""
    if content_type not in _SOUND_ONLY:
        return content_type
    with opened(data, content_type) as container:
        is_sound = picture_stream(container) is None and sound_stream(container) is not None
    return _SOUND_ONLY[content_type] if is_sound else content_type


def outline(data: Data, content_type: str, limits: Limits) -> Outline:
    """Measure a file by reading all its packets, without decoding any."""
    _check_riff(head_of(data, 8), len(data))
    with opened(data, content_type) as container:
        picture, sound = picture_stream(container), sound_stream(container)
        tracks: list[av.VideoStream | av.AudioStream] = [track for track in (picture, sound) if track is not None]
        if not tracks:
            raise InvalidMedia(f"the {content_type} file holds neither sound nor pictures", hint=_HINT)
        if picture is not None:
            _check_pixels(picture, limits)
        first, end, counts = _measured(container, tracks)
        # Where players begin; an encoder's priming stands before it.
        start = first if container.start_time is None else container.start_time / av.time_base
        demuxer = container.format.name.partition(",")[0]
        for track in tracks if demuxer == "mov" else ():  # elsewhere "frames" may count samples, or guess
            if counts[track.index] < track.frames:
                raise _cut_off(f"{counts[track.index]} of {track.frames} frames")
        promised = container.duration / av.time_base if container.duration else 0.0
        missing = promised - (end - start)
        if demuxer in _SAYS_LENGTH and missing > max(_MISSING_SECONDS, _MISSING_SHARE * promised):
            raise _cut_off(f"{end - start:.1f} of {promised:.1f} seconds")
    if end - start > limits.max_seconds:
        raise LimitExceeded(
            f"the {content_type} file lasts {end - start:.0f} s, more than {limits.max_seconds:.0f} s",
            hint="cut it into pieces, or raise SENSORIUM_LIMITS__MAX_SECONDS",
        )
    return Outline(picture is not None, sound is not None, start, end - start)


def picture_stream(container: InputContainer) -> av.VideoStream | None:
    """The video track; a cover picture of a song is none."""
    return next((track for track in container.streams.video if not track.disposition & Disposition.attached_pic), None)


def sound_stream(container: InputContainer) -> av.AudioStream | None:
    """The sound track that players take."""
    tracks = container.streams.audio
    return next((track for track in tracks if track.disposition & Disposition.default), tracks[0] if tracks else None)


def _measured(
    container: InputContainer, tracks: list[av.VideoStream | av.AudioStream]
) -> tuple[float, float, dict[int, int]]:
    """The first and the last time stamp, in seconds, and the packets of each track."""
    start, end = float("inf"), 0.0
    counts = dict.fromkeys((track.index for track in tracks), 0)
    for packet in container.demux(tracks):
        beat()
        if packet.size:
            counts[packet.stream_index] += 1
            if packet.pts is not None and packet.time_base is not None:
                first = float(packet.pts * packet.time_base)
                start = min(start, first)
                end = max(end, first + float((packet.duration or 0) * packet.time_base))
    if not any(counts.values()):
        raise InvalidMedia("the file holds no sound and no picture data", hint=_HINT)
    return (min(start, end), end, counts)


def _check_pixels(picture: av.VideoStream, limits: Limits) -> None:
    width, height = picture.codec_context.width, picture.codec_context.height
    if width * height > limits.max_pixels:
        raise LimitExceeded(
            f"the video has {width}×{height} pixels, more than {limits.max_pixels}",
            hint="publish a smaller one, or raise SENSORIUM_LIMITS__MAX_PIXELS",
        )


def _check_riff(head: bytes, size: int) -> None:
    """WAV and AVI say how long they are; live recorders leave it at 0 or at its maximum."""
    if head.startswith(b"RIFF"):
        promised = int.from_bytes(head[4:8], "little") + 8
        if size < promised - 1 and promised < 0xFFFFFFF0:
            raise _cut_off(f"{size} of {promised} bytes")


def _cut_off(what: str) -> InvalidMedia:
    return InvalidMedia(f"the file is cut off: it holds {what}", hint="publish the whole file")
