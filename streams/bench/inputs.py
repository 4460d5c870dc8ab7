"""Documents to measure with: many different ones, made from the sample media."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from schemas.media import Modality

SAMPLES = Path(__file__).parents[2] / "samples"
PHOTOS = ("astronaut.jpg", "cat.jpg", "coffee.jpg", "rocket.jpg")


@dataclass(frozen=True, slots=True)
class Document:
    """Bytes to publish."""

    document_id: str
    content_type: str
    data: bytes


def texts(count: int) -> list[Document]:
    """Plain texts of one to twelve sentences of the handbook."""
    sentences = [
        sentence.strip() + "."
        for paragraph in (SAMPLES / "handbook.md").read_text().split("\n\n")
        if not paragraph.startswith(("#", "|"))
        for sentence in paragraph.replace("\n", " ").split(".")
        if sentence.strip()
    ]
    mixed = random.Random(5)  # noqa: S311  # the same documents every time
    made = []
    for number in range(count):
        chosen = mixed.choices(sentences, k=mixed.randint(1, 12))
        text = f"Entry {number} of the log. " + " ".join(chosen)
        made.append(Document(f"text-{number}", "text/plain", text.encode()))
    return made


def images(count: int) -> list[Document]:
    """Crops of the photos, each another one."""
    photos = [Image.open(SAMPLES / name).convert("RGB") for name in PHOTOS]
    mixed = random.Random(6)  # noqa: S311  # the same documents every time
    made = []
    for number in range(count):
        photo = photos[number % len(photos)]
        width, height = photo.size
        left, top = mixed.randint(0, width // 8), mixed.randint(0, height // 8)
        box = (left, top, width - mixed.randint(0, width // 8), height - mixed.randint(0, height // 8))
        out = io.BytesIO()
        photo.crop(box).save(out, "JPEG", quality=88)
        made.append(Document(f"image-{number}", "image/jpeg", out.getvalue()))
    return made


def sounds(count: int) -> list[Document]:
    """The reading, once each time: its content does not change what it costs."""
    data = (SAMPLES / "reading.flac").read_bytes()
    return [Document(f"audio-{number}", "audio/flac", data) for number in range(count)]


def videos(count: int) -> list[Document]:
    """The programme, once each time."""
    data = (SAMPLES / "programme.mp4").read_bytes()
    return [Document(f"video-{number}", "video/mp4", data) for number in range(count)]


@dataclass(frozen=True, slots=True)
class Kind:
    """Documents of one modality, and what is wanted of their throughput."""

    modality: Modality
    make: Callable[[int], list[Document]]
    count: int
    at_least: float | None


KINDS = (
    Kind(Modality.TEXT, texts, 300, 0.8),
    Kind(Modality.IMAGE, images, 40, 0.8),
    Kind(Modality.AUDIO, sounds, 5, None),
    Kind(Modality.VIDEO, videos, 3, None),
)
