"""One small interface per capability, each with ``local``, ``hub`` and ``fake`` implementations.

One conformance suite runs on all of them. Calls are synchronous, are made off the event loop, and come from one thread
at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.chunks import Label, OcrLine, Region, SoundWindow, Word

Floats = NDArray[np.float32]
Picture = NDArray[np.uint8]
"""``(height, width, 3)`` RGB."""
Wave = NDArray[np.float32]
"""``(samples,)`` mono, 16 kHz, -1 to 1."""

SAMPLE_RATE = 16_000


@dataclass(frozen=True, slots=True)
class Parts:
    """The vectors of the parts of one chunk or query, for late interaction.

    ``vectors`` is ``(n, d)`` with unit rows; ``weights`` is ``(n,)``; ``places`` is ``(n, 4)`` int32: a token is
    ``(start_char, end_char, 0, 0)``, a region its box in ten-thousandths, a sound window ``(start_ms, end_ms, 0, 0)``.
    """

    vectors: Floats
    places: NDArray[np.int32]
    weights: Floats


@dataclass(frozen=True, slots=True)
class Embedding:
    """``vector`` is ``(d,)`` with unit length, in the unified space."""

    vector: Floats
    parts: Parts


@dataclass(frozen=True, slots=True)
class ImageInput:
    """A picture to embed: what was recognised in it, and its pixels for encoders that want them."""

    labels: tuple[Label, ...]
    regions: tuple[Region, ...]
    load: Callable[[], Picture]


@dataclass(frozen=True, slots=True)
class SoundInput:
    """A sound to embed: what was recognised in it, and its samples for encoders that want them."""

    windows: tuple[SoundWindow, ...]
    load: Callable[[], Wave]


class TextEncoder(Protocol):
    """Words into the unified space."""

    dimension: int
    name: str

    def encode(self, texts: Sequence[str]) -> list[Embedding]:
        """One embedding a text; tokens beyond the encoder's length are cut. An empty text is a ``ValueError``."""


class ImageEncoder(Protocol):
    """Pictures into the unified space."""

    dimension: int
    name: str

    def encode(self, images: Sequence[ImageInput]) -> list[Embedding]:
        """One embedding a picture, its regions as parts."""


class SoundEncoder(Protocol):
    """Sounds into the unified space."""

    dimension: int
    name: str

    def encode(self, sounds: Sequence[SoundInput]) -> list[Embedding]:
        """One embedding a sound, its windows as parts."""


class Labeller(Protocol):
    """What a picture shows."""

    def label(self, pictures: Sequence[Picture]) -> list[tuple[Label, ...]]:
        """The likeliest classes of each picture, best first; scores are probabilities."""


class SoundTagger(Protocol):
    """What is heard, window by window."""

    def tag(self, wave: Wave) -> tuple[SoundWindow, ...]:
        """Windows with their likeliest classes, best first; times from the wave's start."""


class TextReader(Protocol):
    """Optical character recognition."""

    def read(self, picture: Picture) -> tuple[OcrLine, ...]:
        """The lines in reading order; ``start_char``/``end_char`` are left 0."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of speech; times from the wave's start."""

    words: tuple[Word, ...]
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said."""

    language: str
    segments: tuple[Segment, ...]


class SpeechReader(Protocol):
    """Speech recognition."""

    def transcribe(self, wave: Wave) -> Transcript:
        """The words with their times; no segments where nobody speaks."""


class Generator(Protocol):
    """Writes answers."""

    name: str

    def stream(self, prompt: str, *, max_tokens: int, stop: Sequence[str] = ()) -> Iterator[str]:
        """The continuation of ``prompt``, piece by piece. Closing the iterator stops the generation."""
