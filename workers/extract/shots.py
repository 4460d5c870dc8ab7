"""The shots of a video: where they begin and end, and one clear picture of each.

In: bytes of a video file. Out: shots on the file's time line, as soon as each is over; one pass over the frames, and
never more than some of one shot's frames in memory. Cuts are found by PySceneDetect's adaptive detector: the change
from frame to frame in HSV, against its own running mean, so that fast motion does not pass for a cut
(https://www.scenedetect.com/docs/latest/api/detectors.html). Raises ``InvalidMedia``, ``LimitExceeded``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import cv2
import numpy as np
import structlog
from numpy.typing import NDArray
from scenedetect.common import FrameTimecode, Timecode
from scenedetect.detectors import AdaptiveDetector

from workers.errors import InvalidMedia
from workers.extract.containers import Outline, opened, picture_stream
from workers.models.base import Picture
from workers.sandbox.held import Data
from workers.sandbox.progress import beat

LONGEST_S = 20.0
_SHORTEST_S = 0.5
_SMALL, _KEPT = 192, 1280
"""Longest side, in pixels, of the frames that cuts are looked for in, and of those that may become key frames."""
_CANDIDATES = 12
_FIRST_EVERY_S = 0.25
_FRAME_BYTES_A_PIXEL = 3
_STEPS_PER_S = 1000
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Shot:
    """A shot and its key frame: the sharpest near its middle."""

    start_ms: int
    end_ms: int
    picture: Picture
    picture_ms: int


@dataclass(frozen=True, slots=True)
class _Candidate:
    time_s: float
    sharpness: float
    picture: Picture


def shots(data: Data, content_type: str, outline: Outline) -> Iterator[Shot]:
    """The shots in order, each at most ``LONGEST_S`` long."""
    finder = _Finder()
    end = 0.0
    for time_s, lasts_s, frame in _frames(data, content_type, outline):
        yield from finder.look(time_s, frame)
        end = max(end, time_s + lasts_s)
    if finder.is_empty:
        raise InvalidMedia("no picture of the video can be decoded", hint="check the file; it may be cut")
    yield finder.finish(end)


class _Finder:
    """Frames in, shots out. Keeps a few candidates of the shot under way, ever further apart as it grows."""

    def __init__(self) -> None:
        self._detector = AdaptiveDetector(min_scene_len=_SHORTEST_S)
        self._start = 0.0
        self._every = _FIRST_EVERY_S
        self._candidates: list[_Candidate] = []

    @property
    def is_empty(self) -> bool:
        """No frame was seen."""
        return not self._candidates

    def look(self, time_s: float, frame: av.VideoFrame) -> Iterator[Shot]:
        """Yields the shot that ends at or just before ``frame``, if one does."""
        small = _scaled(frame, _SMALL)
        for cut in self._cuts(time_s, small):
            if cut - self._start >= _SHORTEST_S / 2:
                yield self._cut(cut)
        if time_s - self._start >= LONGEST_S:
            yield self._cut(time_s)
        if not self._candidates or time_s - self._candidates[-1].time_s >= self._every:
            gray = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
            sharpness = float(cv2.Laplacian(gray, cv2.CV_32F).var())
            self._candidates.append(_Candidate(time_s, sharpness, _upright(frame)))
            if len(self._candidates) > _CANDIDATES:
                self._candidates = self._candidates[::2]
                self._every *= 2

    def finish(self, end_s: float) -> Shot:
        """The last shot."""
        return self._cut(max(end_s, self._start))

    def _cuts(self, time_s: float, small: Picture) -> list[float]:
        stamp = Timecode(pts=round(time_s * _STEPS_PER_S), time_base=Fraction(1, _STEPS_PER_S))
        found = self._detector.process_frame(FrameTimecode(stamp, fps=25.0), small)
        return [cut.seconds for cut in found]

    def _cut(self, end_s: float) -> Shot:
        """The shot up to ``end_s``; candidates after it (cuts are told two frames late) belong to the next one."""
        mine = [kept for kept in self._candidates if kept.time_s < end_s] or self._candidates[:1]
        middle, half = (self._start + end_s) / 2, max((end_s - self._start) / 2, 1e-3)
        best = max(mine, key=lambda kept: kept.sharpness * (1.0 - 0.6 * min(abs(kept.time_s - middle) / half, 1.0)))
        shot = Shot(_ms(self._start), _ms(end_s), best.picture, _ms(best.time_s))
        self._candidates = [kept for kept in self._candidates if kept.time_s >= end_s]
        self._start, self._every = end_s, _FIRST_EVERY_S
        return shot


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))


def _frames(data: Data, content_type: str, outline: Outline) -> Iterator[tuple[float, float, av.VideoFrame]]:
    """Time and duration, in seconds of the file's time line, and the frame; broken packets are left out."""
    broken, last = 0, 0.0
    with opened(data, content_type) as container:
        track = picture_stream(container)
        if track is None:
            return
        track.thread_type = "AUTO"
        track.codec_context.thread_count = 2
        lasts = float(1 / track.average_rate) if track.average_rate else 0.04
        for packet in container.demux(track):
            beat()
            try:
                frames = packet.decode()
            except MemoryError:  # PyAV's is both this and its own
                raise
            except av.FFmpegError:
                _check_room(track.codec_context)
                broken += 1
                continue
            for frame in frames:
                time_s = last + lasts if frame.time is None else frame.time - outline.start_s
                last = max(last, time_s)  # time stamps of broken files run backwards
                yield last, lasts, frame
    if broken:
        _log.warning("broken picture packets left out", packets=broken)


def _check_room(codec: av.VideoCodecContext) -> None:
    """Raises ``MemoryError`` where there is no room for a frame: codecs call that, too, invalid data."""
    bytearray(_FRAME_BYTES_A_PIXEL * codec.width * codec.height)


def _scaled(frame: av.VideoFrame, longest: int, pixels: str = "bgr24") -> NDArray[np.uint8]:
    scale = min(1.0, longest / max(frame.width, frame.height))
    width, height = (max(2, round(side * scale)) for side in (frame.width, frame.height))
    return frame.reformat(width=width, height=height, format=pixels).to_ndarray().astype(np.uint8, copy=False)


def _upright(frame: av.VideoFrame) -> Picture:
    """RGB pixels, turned as the camera was held."""
    picture = _scaled(frame, _KEPT, "rgb24")
    return np.ascontiguousarray(np.rot90(picture, k=round(frame.rotation / 90) % 4))
