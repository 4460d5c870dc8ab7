"""Chunks become rows and come back; what is too large is trimmed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.arrays import PackedArray
from schemas.chunks import Channel, EmbeddedChunk, Features, Label, OcrLine, PartsRef, Region, SoundWindow, Word
from schemas.media import BlobRef
from tests.workers.made import DIMENSION, made_chunk, made_item
from workers.arrays import pack
from workers.errors import InvalidEvent
from workers.store.rows import Row, cut, from_row, to_row
from workers.store.schema import LENGTHS, MAX_TEXT_BYTES

BLOB = BlobRef(uri="file:///b", sha256="0" * 64, size=3, content_type="image/png")
LABELS = tuple(Label(name=f"name {i}", score=0.5) for i in range(20))


def as_stored(row: Row) -> Row:
    """As a store gives it back."""
    return row | {"vector": [float(x) for x in row["vector"]]}


def test_a_chunk_comes_back_whole() -> None:
    chunk = made_chunk(
        text='schön\n"quoted"',
        title="t",
        page=3,
        box=(0.1, 0.2, 0.3, 0.4),
        start_ms=5,
        end_ms=9,
        channel=Channel.SPEECH,
        media=BLOB,
        features=Features(
            labels=LABELS[:2],
            regions=(Region(box=(0, 0, 1, 1), labels=LABELS[:1]),),
            windows=(SoundWindow(start_ms=1, end_ms=2, labels=LABELS[:1]),),
            ocr=(OcrLine(text="x", box=(0, 0, 1, 1), score=0.9),),
            words=(Word(text="schön", start_ms=5, end_ms=9, end_char=5),),
            language="de",
        ),
    )
    item = EmbeddedChunk(
        chunk=chunk,
        vector=pack(np.ones(DIMENSION) / 3, "float32"),
        search_text="schön",
        parts=PartsRef(blob=BLOB, start=2, stop=7),
    )
    row = to_row(item, DIMENSION)
    assert (row["start_ms"], row["end_ms"], row["shard"]) == (5, 9, "words/t")
    assert from_row(as_stored(row)) == item


def test_chunks_without_times_have_minus_one() -> None:
    row = to_row(made_item(), DIMENSION)
    assert (row["start_ms"], row["end_ms"]) == (-1, -1)


@pytest.mark.parametrize("scale", [40, 400, 4000])
def test_features_that_are_too_large_are_trimmed_from_the_least_telling_on(scale: int) -> None:
    words = tuple(Word(text="wörter", start_ms=i, end_ms=i + 1) for i in range(scale))
    windows = tuple(SoundWindow(start_ms=i, end_ms=i + 1, labels=LABELS) for i in range(scale))
    item = made_item(text="ü" * 30_000, features=Features(words=words, windows=windows, labels=LABELS))
    row = to_row(item, DIMENSION)
    assert len(row["payload"].encode()) <= MAX_TEXT_BYTES
    back = from_row(as_stored(row))
    assert item.chunk.text.startswith(back.chunk.text)
    assert len(back.chunk.text) >= 10_000
    assert back.chunk.features.words == words[: len(back.chunk.features.words)]
    if scale == 40:
        assert back.chunk.features.words == words
        assert len(back.chunk.features.windows) == 40


@pytest.mark.parametrize(
    ("vector", "dimension"),
    [(np.ones(4), 8), (np.ones((2, 8)), 8), (np.array([np.nan] * 8), 8), (np.full(8, np.inf), 8)],
)
def test_vectors_that_do_not_fit_are_refused(vector: np.ndarray, dimension: int) -> None:
    packed: PackedArray = pack(vector, "float32")
    with pytest.raises(InvalidEvent, match="8 dimensions"):
        to_row(made_item().model_copy(update={"vector": packed}), dimension)


@pytest.mark.parametrize("field", ["source", "tenant"])
def test_names_that_are_too_long_are_refused(field: str) -> None:
    with pytest.raises(InvalidEvent, match=f"{field} of"):
        to_row(made_item(**{field: "ü" * (LENGTHS[field] // 2 + 1)}), DIMENSION)


@given(st.text(), st.integers(0, 100))
def test_cutting_keeps_characters_whole(text: str, max_bytes: int) -> None:
    kept = cut(text, max_bytes)
    assert text.startswith(kept)
    assert len(kept.encode()) <= max_bytes
    if len(text.encode()) <= max_bytes:
        assert kept == text
