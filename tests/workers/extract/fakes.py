"""Recognisers without weights that say where they looked, and a blob store in memory."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeVar

import numpy as np

from schemas.chunks import Label, OcrLine, SoundWindow, Word
from schemas.media import BlobRef
from workers.errors import InvalidMedia
from workers.extract.draft import Draft
from workers.models.base import SAMPLE_RATE, Picture, Segment, Transcript, Wave

T = TypeVar("T")
HOP_MS, WINDOW_MS = 480, 975


class ColourLabeller:
    """Names a picture by its strongest colour."""

    def __init__(self) -> None:
        self.seen = 0

    def label(self, pictures: Sequence[Picture]) -> list[tuple[Label, ...]]:
        self.seen += len(pictures)
        found = []
        for picture in pictures:
            share = picture.reshape(-1, 3).mean(axis=0) / 256
            named = sorted(zip(("red", "green", "blue"), share, strict=True), key=lambda pair: -pair[1])
            found.append(tuple(Label(name=name, score=float(score)) for name, score in named))
        return found


class LineReader:
    """Reads one line in any picture."""

    def __init__(self, lines: Sequence[OcrLine] = ()) -> None:
        self.lines = tuple(lines)

    def read(self, picture: Picture) -> tuple[OcrLine, ...]:
        return self.lines


class LoudnessTagger:
    """Windows as YAMNet's: loud is speech, soft is a dog, less is silence."""

    def tag(self, wave: Wave) -> tuple[SoundWindow, ...]:
        windows = []
        for start in range(0, max(1, len(wave) * 1000 // SAMPLE_RATE - WINDOW_MS + 1), HOP_MS):
            piece = wave[start * SAMPLE_RATE // 1000 : (start + WINDOW_MS) * SAMPLE_RATE // 1000]
            loud = float(np.abs(piece).max()) if len(piece) else 0.0
            name = "Speech" if loud > 0.4 else "Dog" if loud > 0.01 else "Silence"
            labels = (Label(name=name, score=0.9), Label(name="Animal", score=0.4))
            windows.append(SoundWindow(start_ms=start, end_ms=start + WINDOW_MS, labels=labels))
        return tuple(windows)


class WordEverySecond:
    """Hears a word each second, a sentence each five."""

    def __init__(self) -> None:
        self.heard_s = 0.0

    def transcribe(self, wave: Wave) -> Transcript:
        seconds = len(wave) // SAMPLE_RATE
        self.heard_s += len(wave) / SAMPLE_RATE
        words = tuple(
            Word(text=f" word{n}" + ("." if n % 5 == 4 else ""), start_ms=n * 1000, end_ms=n * 1000 + 800)
            for n in range(seconds)
        )
        return Transcript("en", (Segment(words, 0, seconds * 1000),) if words else ())


class FakeModels:
    """All recognisers; ``run`` uses a thread, as the real ones do."""

    def __init__(self, lines: Sequence[OcrLine] = (), *, ocr: bool = True) -> None:
        self.labeller = ColourLabeller()
        self.tagger = LoudnessTagger()
        self.reader = LineReader(lines) if ocr else None
        self.speech = WordEverySecond()

    async def run(self, fn: Callable[..., T], *args: object) -> T:
        return await asyncio.to_thread(fn, *args)


class MemoryBlobs:
    """Blobs in a dictionary."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}

    def put(self, data: bytes, content_type: str) -> BlobRef:
        digest = hashlib.sha256(data).hexdigest()
        self.held[f"memory://{digest}"] = data
        return BlobRef(uri=f"memory://{digest}", sha256=digest, size=len(data), content_type=content_type)

    def get(self, ref: BlobRef, *, max_bytes: int) -> bytes:
        if ref.uri not in self.held:
            raise InvalidMedia(f"there is no blob at {ref.uri}")
        return self.held[ref.uri]


async def drafts(found: AsyncIterator[Draft]) -> list[Draft]:
    """All of them."""
    return [draft async for draft in found]
