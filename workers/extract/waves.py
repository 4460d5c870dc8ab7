"""The sound of a file as samples, and samples as a file.

In: bytes of a sound or video file. Out: stretches of 16 kHz mono samples of at most five minutes, cut where it is
quiet, on the file's time line; memory stays the same however long it is. Raises ``InvalidMedia``, ``LimitExceeded``.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import structlog
from numpy.typing import NDArray

from workers.errors import InvalidMedia
from workers.extract.containers import Outline, opened, sound_stream
from workers.models.base import SAMPLE_RATE, Wave
from workers.sandbox.held import Data
from workers.sandbox.progress import beat

LONGEST_S = 300
_CUT_WITHIN_S = 15
"""A stretch ends at the quietest moment of its last seconds, so that no word is cut apart."""
_QUIET_S = 0.3
_GAP_S = 0.1
"""Larger gaps between time stamps are filled with silence, so that times stay true."""
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Samples that begin at ``start_ms`` of the file's time line."""

    start_ms: int
    wave: Wave


def stretches(data: Data, content_type: str, outline: Outline, *, longest_s: float = LONGEST_S) -> Iterator[Stretch]:
    """The sound track, piece by piece."""
    held: list[Wave] = []
    start = size = 0
    for piece in _pieces(data, content_type, outline):
        held.append(piece)
        size += len(piece)
        while size >= longest_s * SAMPLE_RATE:
            wave = np.concatenate(held)
            cut = _quietest(wave[: int(longest_s * SAMPLE_RATE)])
            yield Stretch(start * 1000 // SAMPLE_RATE, wave[:cut])
            held, start, size = [wave[cut:]], start + cut, size - cut
    if start + size == 0:
        raise InvalidMedia("no sound of the file can be decoded", hint="check the file; it may be empty or cut")
    if size:
        yield Stretch(start * 1000 // SAMPLE_RATE, np.concatenate(held))


def _quietest(wave: Wave) -> int:
    """The middle of the quietest moment near the end."""
    step = int(_QUIET_S * SAMPLE_RATE)
    tail = wave[-min(len(wave) // 2, _CUT_WITHIN_S * SAMPLE_RATE) :]
    energy = (tail[: len(tail) // step * step].reshape(-1, step) ** 2).mean(axis=1)
    return len(wave) - len(tail) + int(energy.argmin()) * step + step // 2 if len(energy) else len(wave)


def _pieces(data: Data, content_type: str, outline: Outline) -> Iterator[Wave]:
    """Samples as they are decoded, with silence where the file has gaps; broken packets are left out."""
    done = broken = 0
    most = int((outline.seconds + 1) * SAMPLE_RATE)
    with opened(data, content_type) as container:
        track = sound_stream(container)
        if track is None:
            return
        resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
        for packet in container.demux(track):
            beat()
            try:
                frames = packet.decode()
            except MemoryError:  # PyAV's is both this and its own
                raise
            except av.FFmpegError:
                broken += 1
                continue
            for frame in frames:
                gap = 0 if frame.time is None else round((frame.time - outline.start_s) * SAMPLE_RATE) - done
                if gap > _GAP_S * SAMPLE_RATE and done + gap < most:
                    yield np.zeros(gap, dtype=np.float32)
                    done += gap
                frame.pts = None  # the resampler counts on its own: it must not fill or drop anything
                for wave in _samples(resampler.resample(frame)):
                    yield wave
                    done += len(wave)
        for wave in _samples(resampler.resample(None)) if done else ():
            yield wave
    if broken:
        _log.warning("broken sound packets left out", packets=broken)


def _samples(frames: list[av.AudioFrame]) -> Iterator[Wave]:
    for frame in frames:
        wave: NDArray[np.float32] = frame.to_ndarray()[0]
        yield np.nan_to_num(np.clip(wave, -1.0, 1.0), copy=False)


def flac(wave: Wave) -> bytes:
    """Samples as a FLAC file: every browser plays it, and encoders get back the very samples (16 bits)."""
    out = io.BytesIO()
    samples = (np.clip(wave, -1.0, 1.0) * 32767).astype(np.int16)
    with av.open(out, "w", format="flac") as file:
        track = file.add_stream("flac", rate=SAMPLE_RATE, layout="mono", format="s16")
        for start in range(0, len(samples), 4096):
            frame = av.AudioFrame.from_ndarray(samples[None, start : start + 4096], format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
            file.mux(track.encode(frame))
        file.mux(track.encode(None))
    return out.getvalue()
