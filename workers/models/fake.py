"""Fakes of every capability: deterministic, instant, without weights. Texts that share words are near each other."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from schemas.chunks import Label, OcrLine, SoundWindow
from workers.models.base import (
    SAMPLE_RATE,
    Embedding,
    Floats,
    ImageInput,
    Parts,
    Picture,
    SoundInput,
    TextEncoder,
    Transcript,
    Wave,
)

DIMENSION = 32
_WORD = re.compile(r"\w+")
_COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255), "black": (0, 0, 0)}
SILENCE = 0.01
WINDOW_MS = 960


@lru_cache(maxsize=4096)
def _of_word(word: str) -> tuple[float, ...]:
    """A unit vector that depends on the word alone."""
    seed = int.from_bytes(hashlib.sha256(word.lower().encode()).digest()[:8], "little")
    vector = np.random.default_rng(seed).normal(size=DIMENSION)
    return tuple(vector / np.linalg.norm(vector))


def _of_words(words: Sequence[str]) -> Floats:
    mixed = np.array([_of_word(word) for word in words]).sum(axis=0)
    unit: Floats = (mixed / np.linalg.norm(mixed)).astype(np.float32)
    return unit


def _of_labels(labels: Sequence[Label]) -> Floats:
    return _of_words([word for label in labels for word in _WORD.findall(label.name)] or ["nothing"])


class FakeTextEncoder:
    """A bag of words."""

    name = "fake"
    dimension = DIMENSION

    def encode(self, texts: Sequence[str]) -> list[Embedding]:
        """One embedding a text. Raises ``ValueError`` for an empty text."""
        if not all(text.strip() for text in texts):
            raise ValueError("an empty text has no vector")
        return [self._one(text) for text in texts]

    def _one(self, text: str) -> Embedding:
        words = list(_WORD.finditer(text)) or list(re.finditer(r"\S+", text))
        vectors = np.array([_of_word(word.group()) for word in words], dtype=np.float32)
        places = np.array([(word.start(), word.end(), 0, 0) for word in words], dtype=np.int32)
        return Embedding(
            _of_words([word.group() for word in words]), Parts(vectors, places, np.ones(len(words), np.float32))
        )


class FakeImageEncoder:
    """The words of the labels."""

    name = "fake"
    dimension = DIMENSION

    def encode(self, images: Sequence[ImageInput]) -> list[Embedding]:
        """One embedding a picture, its regions as parts."""
        found = []
        for image in images:
            regions = [(region.box, region.labels) for region in image.regions] or [
                ((0.0, 0.0, 1.0, 1.0), image.labels)
            ]
            vectors = np.stack([_of_labels(labels) for _, labels in regions])
            places = np.array([[round(10_000 * value) for value in box] for box, _ in regions], dtype=np.int32)
            found.append(Embedding(_of_labels(image.labels), Parts(vectors, places, np.ones(len(regions), np.float32))))
        return found


class FakeSoundEncoder:
    """The words of the labels."""

    name = "fake"
    dimension = DIMENSION

    def encode(self, sounds: Sequence[SoundInput]) -> list[Embedding]:
        """One embedding a sound, its windows as parts."""
        found = []
        for sound in sounds:
            windows = [(w.start_ms, w.end_ms, w.labels) for w in sound.windows] or [(0, 0, ())]
            vectors = np.stack([_of_labels(labels) for _, _, labels in windows])
            places = np.array([(start, end, 0, 0) for start, end, _ in windows], dtype=np.int32)
            names = [label for window in sound.windows for label in window.labels]
            found.append(Embedding(_of_labels(names), Parts(vectors, places, np.ones(len(windows), np.float32))))
        return found


class FakeLabeller:
    """The nearest of five colours."""

    def label(self, pictures: Sequence[Picture]) -> list[tuple[Label, ...]]:
        """One label a picture."""
        return [(Label(name=_colour(picture), score=0.9),) for picture in pictures]


def _colour(picture: Picture) -> str:
    mean = picture.reshape(-1, 3).mean(axis=0)
    return min(_COLOURS, key=lambda name: float(np.square(mean - _COLOURS[name]).sum()))


class FakeSoundTagger:
    """Silence, or a tone by its height."""

    def tag(self, wave: Wave) -> tuple[SoundWindow, ...]:
        """One window for each 0.96 s."""
        step = SAMPLE_RATE * WINDOW_MS // 1000
        windows = []
        for start in range(0, len(wave), step):
            piece = wave[start : start + step]
            begin = start * 1000 // SAMPLE_RATE
            label = Label(name=_tone(piece), score=0.9)
            end = begin + len(piece) * 1000 // SAMPLE_RATE
            windows.append(SoundWindow(start_ms=begin, end_ms=end, labels=(label,)))
        return tuple(windows)


def _tone(wave: Wave) -> str:
    if float(np.abs(wave).max(initial=0.0)) < SILENCE:
        return "Silence"
    crossings = int(np.count_nonzero(np.diff(np.signbit(wave)))) / 2
    return "high tone" if crossings * SAMPLE_RATE / len(wave) > 600 else "low tone"


class FakeTextReader:
    """Reads nothing."""

    def read(self, picture: Picture) -> tuple[OcrLine, ...]:
        """No lines."""
        return ()


class FakeSpeechReader:
    """Hears nobody."""

    def transcribe(self, wave: Wave) -> Transcript:
        """No segments."""
        return Transcript(language="", segments=())


class FakeGenerator:
    """Repeats the last line of the prompt that holds evidence."""

    name = "fake"

    def stream(self, prompt: str, *, max_tokens: int, stop: Sequence[str] = ()) -> Iterator[str]:
        """Word by word."""
        lines = [line for line in prompt.splitlines() if line.startswith("[")] or [prompt]
        for word in lines[-1].split()[:max_tokens]:
            yield f" {word}"


class FakeBuilders:
    """The ``fake`` profile."""

    def text(self) -> FakeTextEncoder:
        """Words into the unified space."""
        return FakeTextEncoder()

    def image(self, text: TextEncoder) -> FakeImageEncoder:
        """Pictures into the unified space."""
        return FakeImageEncoder()

    def sound(self, text: TextEncoder) -> FakeSoundEncoder:
        """Sounds into the unified space."""
        return FakeSoundEncoder()

    def labeller(self) -> FakeLabeller:
        """What a picture shows."""
        return FakeLabeller()

    def tagger(self) -> FakeSoundTagger:
        """What is heard."""
        return FakeSoundTagger()

    def reader(self) -> FakeTextReader:
        """Optical character recognition."""
        return FakeTextReader()

    def speech(self) -> FakeSpeechReader:
        """Speech recognition."""
        return FakeSpeechReader()

    def generator(self) -> FakeGenerator:
        """Answers."""
        return FakeGenerator()
