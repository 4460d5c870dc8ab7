"""Tokens that the text encoder computes over tokens that texts have, on a mix of lengths."""

from __future__ import annotations

import asyncio
import random

from streams.bench.figures import Figure
from streams.settings import Settings

TEXTS = 512
SHORTEST, LONGEST = 3, 200  # words


async def measure(settings: Settings, quick: bool) -> list[Figure]:
    """The waste of batches by length."""
    return [await asyncio.to_thread(_measure, TEXTS // 8 if quick else TEXTS)]


def _measure(count: int) -> Figure:
    from workers.models.text import LocalTextEncoder

    encoder = LocalTextEncoder(threads=2)
    mixed = random.Random(11)  # noqa: S311  # the same texts every time
    encoder.encode([" ".join(["recording"] * mixed.randint(SHORTEST, LONGEST)) for _ in range(count)])
    return Figure(
        name="tokens computed / real tokens",
        value=encoder.padded_tokens / encoder.real_tokens,
        unit="",
        sample=f"{count} texts of {SHORTEST} to {LONGEST} words",
        at_most=1.15,
    )
