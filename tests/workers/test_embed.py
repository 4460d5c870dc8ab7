"""The embed stage: channels, batches across events, failures that stay with their event."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from schemas.base import Event
from schemas.chunks import Channel, ChunksEmbedded, ChunksExtracted, Features, Label, Region, SoundWindow
from schemas.media import BlobRef, Modality
from tests.workers.made import DIMENSION, MadeModels, direction, extracted, made_chunk
from workers.arrays import unpack
from workers.embed import EmbedStage, search_text
from workers.errors import InvalidEvent, InvalidMedia
from workers.store.blobs import BlobStore
from workers.store.parts import PartsStore

CAT = (Label(name="cat", score=0.9), Label(name="lynx", score=0.02))
BARK = (SoundWindow(start_ms=0, end_ms=960, labels=(Label(name="bark", score=0.8),)),)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(str(tmp_path))


@pytest.fixture
def models() -> MadeModels:
    return MadeModels()


@pytest.fixture
async def stage(blobs: BlobStore, models: MadeModels) -> EmbedStage:
    stage = EmbedStage(blobs, PartsStore(blobs), models)
    await stage.start()
    return stage


async def run(stage: EmbedStage, events: Sequence[Event]) -> list[Event | InvalidEvent]:
    outputs = [output async for output in stage.process(events)]
    assert [output.origin for output in outputs] == list(range(len(events)))
    return [output.result for output in outputs]


def picture(**changes: Any) -> dict[str, Any]:
    return {
        "text": "",
        "channel": Channel.PICTURE,
        "modality": Modality.IMAGE,
        "features": Features(labels=CAT),
    } | changes


async def test_each_channel_has_its_encoder(stage: EmbedStage) -> None:
    chunks = [
        made_chunk("d", "0", text="a passage"),
        made_chunk("d", "1", text="was said", channel=Channel.SPEECH),
        made_chunk("d", "2", **picture()),
        made_chunk("d", "3", text="", channel=Channel.SOUND, features=Features(windows=BARK)),
    ]
    [event] = await run(stage, [extracted("d", chunks)])
    assert isinstance(event, ChunksEmbedded)
    assert [item.chunk for item in event.chunks] == chunks
    for item, means in zip(event.chunks, ["a passage", "was said", "cat lynx", "bark"], strict=True):
        assert np.array_equal(unpack(item.vector), direction(means))
    assert event.generation == "g1"
    assert (event.document_id, event.version, event.is_last, event.event_time_ms) == ("d", 1, True, 1000)


async def test_parts_are_stored_and_referred_to(stage: EmbedStage, blobs: BlobStore) -> None:
    events = [extracted(f"d{i}", [made_chunk(f"d{i}", text=f"word{i} cat")]) for i in range(3)]
    for number, event in enumerate(await run(stage, events)):
        assert isinstance(event, ChunksEmbedded)
        ref = event.chunks[0].parts
        assert ref is not None
        parts = await PartsStore(blobs).read(ref)
        assert parts.vectors.shape == (2, DIMENSION)
        assert parts.vectors[0] @ direction(f"word{number}") > 0.999


async def test_texts_of_many_events_share_calls_with_their_like(stage: EmbedStage, models: MadeModels) -> None:
    texts = [("word " * (1 + i * 7 % 40)).strip() + f" {i}" for i in range(40)]
    results = await run(stage, [extracted(f"d{i}", [made_chunk(f"d{i}", text=text)]) for i, text in enumerate(texts)])
    assert [len(call) for call in models.text.calls] == [32, 8]
    lengths = [len(text) for call in models.text.calls for text in call]
    assert lengths == sorted(lengths)
    for text, event in zip(texts, results, strict=True):
        assert isinstance(event, ChunksEmbedded)
        assert np.array_equal(unpack(event.chunks[0].vector), direction(text))


async def test_chunks_without_anything_to_embed_are_left_out(stage: EmbedStage) -> None:
    chunks = [
        made_chunk("d", "0", text=" \n"),
        made_chunk("d", "1", text="x"),
        made_chunk("d", "2", text="", channel=Channel.SOUND),
    ]
    event, empty = await run(stage, [extracted("d", chunks), extracted("e", [])])
    assert isinstance(event, ChunksEmbedded)
    assert [item.chunk.text for item in event.chunks] == ["x"]
    assert isinstance(empty, ChunksEmbedded)
    assert empty.chunks == ()
    assert empty.is_last


async def test_deletions_pass_through(stage: EmbedStage, models: MadeModels) -> None:
    [event] = await run(stage, [ChunksExtracted(document_id="d", version=4, event_time_ms=1, is_deleted=True)])
    assert isinstance(event, ChunksEmbedded)
    assert (event.is_deleted, event.version, event.chunks) == (True, 4, ())
    assert models.text.calls == []


async def test_a_picture_that_cannot_be_read_fails_its_own_event_only(
    stage: EmbedStage, models: MadeModels, blobs: BlobStore
) -> None:
    models.image.loads = True
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, "JPEG")
    good = blobs.put(buffer.getvalue(), "image/jpeg")
    gone = BlobRef(uri=good.uri[:-1] + "x", sha256=good.sha256, size=good.size)
    results = await run(
        stage,
        [
            extracted("a", [made_chunk("a", **picture(media=good))]),
            extracted("b", [made_chunk("b", **picture(media=gone))]),
            extracted("c", [made_chunk("c", **picture(media=None)), made_chunk("c", "1")]),
            extracted("d", [made_chunk("d", text="words")]),
        ],
    )
    assert [type(result) for result in results] == [ChunksEmbedded, InvalidMedia, InvalidMedia, ChunksEmbedded]


def test_bm25_reads_words_labels_and_title() -> None:
    chunk = made_chunk(
        text="hello",
        title="My cat.png",
        features=Features(labels=CAT, regions=(Region(box=(0, 0, 1, 1), labels=CAT),), windows=BARK),
    )
    assert search_text(chunk) == "hello\ncat, bark\nMy cat.png"
