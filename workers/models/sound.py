"""What is heard: YAMNet on AudioSet's 521 classes (Gemmeke et al. 2017; Hershey et al. 2017, arXiv 1609.09430).

The network sees log-mel patches of 0.96 s; they are computed here as it was trained: 25 ms windows every 10 ms, 64 mel
bands (HTK) from 125 to 7,500 Hz of the magnitude spectrum.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from schemas.chunks import Label, SoundWindow
from workers.models import weights
from workers.models.base import SAMPLE_RATE, Floats, Wave

CLASSES = Path(__file__).parent / "data" / "audioset_classes.txt"
TOP = 12
MIN_SCORE = 0.02

WINDOW, HOP, FFT, BANDS = 400, 160, 512, 64  # samples, samples, points, mel bands
LOW_HZ, HIGH_HZ = 125.0, 7500.0
LOG_FLOOR = 1e-6
PATCH, PATCH_HOP = 96, 48  # spectrogram frames of 10 ms
LOWEST_LOGIT = 60.0  # beyond it the exponential overflows, and the score is 0 anyway

# The quantisation of this very file (its sha256 is pinned): real = scale * (stored - zero).
INPUT_SCALE, INPUT_ZERO = 0.047937885, 144
OUTPUT_SCALE, OUTPUT_ZERO = 0.7565417, 190


class LocalSoundTagger:
    """YAMNet through ONNX Runtime, window by window."""

    def __init__(self, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # other models want the cores, too
        self._session = onnxruntime.InferenceSession(str(weights.yamnet()), options, providers=["CPUExecutionProvider"])
        self._names = CLASSES.read_text().splitlines()

    def tag(self, wave: Wave) -> tuple[SoundWindow, ...]:
        """Windows of 0.96 s, every 0.48 s, with their likeliest classes; times from the wave's start."""
        if not len(wave):
            return ()
        length_ms = len(wave) * 1000 // SAMPLE_RATE
        windows = []
        for number, patch in enumerate(_patches(wave)):
            start = number * PATCH_HOP * 10
            labels = self._labels(patch)
            windows.append(SoundWindow(start_ms=start, end_ms=min(start + PATCH * 10, length_ms), labels=labels))
        return tuple(windows)

    def _labels(self, patch: Floats) -> tuple[Label, ...]:
        stored = np.clip(np.round(patch / INPUT_SCALE) + INPUT_ZERO, 0, 255).astype(np.uint8)
        (raw,) = self._session.run(None, {"audio": stored[None, None]})
        logits = OUTPUT_SCALE * (raw[0].astype(np.float32) - OUTPUT_ZERO)
        scores = 1.0 / (1.0 + np.exp(-np.maximum(logits, -LOWEST_LOGIT)))
        best = np.argsort(-scores, kind="stable")[:TOP]
        return tuple(
            Label(name=self._names[index], score=float(scores[index])) for index in best if scores[index] >= MIN_SCORE
        )


def _patches(wave: Wave) -> NDArray[np.float32]:
    """``(n, 96, 64)`` log-mel patches, at least one: a wave that is too short is padded with silence."""
    shortest = WINDOW + (PATCH - 1) * HOP
    padded = np.pad(wave, (0, max(0, shortest - len(wave))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    spectrum = np.abs(np.fft.rfft(frames * _HANN, FFT, axis=1)).astype(np.float32)
    mel = np.log(spectrum @ _MEL + LOG_FLOOR)
    patches = np.lib.stride_tricks.sliding_window_view(mel, PATCH, axis=0)[::PATCH_HOP]
    return np.ascontiguousarray(patches.transpose(0, 2, 1))


def _mel_filters() -> NDArray[np.float32]:
    """``(257, 64)`` triangles, evenly spaced on HTK's mel scale."""

    def mel(hertz: float) -> float:
        return 2595.0 * float(np.log10(1.0 + hertz / 700.0))

    edges = 700.0 * (10.0 ** (np.linspace(mel(LOW_HZ), mel(HIGH_HZ), BANDS + 2) / 2595.0) - 1.0)
    bins = np.linspace(0, SAMPLE_RATE / 2, FFT // 2 + 1)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)


_HANN = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)
_MEL = _mel_filters()
