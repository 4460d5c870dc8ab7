"""The stage with the recognisers of the profiles: fakes, and real weights on the sample media."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.chunks import Channel, Chunk, ChunksExtracted
from schemas.media import MediaReceived
from tests.media import SAMPLES, image, photo, sound, tone, video
from workers.extract.stage import ExtractStage
from workers.limits import Limits
from workers.models.profiles import Models
from workers.store.blobs import BlobStore

needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="no samples in this checkout")


@pytest.fixture(scope="module")
def local() -> Iterator[Models]:
    models = Models("local", threads=2)
    yield models
    models.close()


async def _chunks(models: Models, folder: Path, data: bytes, name: str) -> list[Chunk]:
    stage = ExtractStage(BlobStore(str(folder)), models, Limits())
    await stage.start()
    event = MediaReceived(document_id=name, version=1, event_time_ms=0, data=data, source_uri=f"file:///{name}")
    found: list[Chunk] = []
    async for output in stage.process([event]):
        assert isinstance(output.result, ChunksExtracted), output.result
        found += output.result.chunks
    return found


async def test_the_fake_profile_reads_every_kind(tmp_path: Path) -> None:
    models = Models("fake", threads=1)
    wave = tone(3)
    for name, data in (
        ("a.txt", b"Some words."),
        ("a.png", image(photo())),
        ("a.wav", sound(wave)),
        ("a.mp4", video([(photo(), 2)], wave=wave)),
    ):
        assert await _chunks(models, tmp_path, data, name), name
    models.close()


@pytest.mark.models
@needs_samples
@pytest.mark.parametrize(
    ("name", "channel", "words"),
    [
        ("cat.jpg", Channel.PICTURE, {"cat"}),
        ("coffee.jpg", Channel.PICTURE, {"espresso"}),
        ("scanned-page.png", Channel.TEXT, {"Region-based", "segmentation", "coins"}),
        ("reading.flac", Channel.SPEECH, {"ill-disposed", "selfish"}),
        ("alarm-clock.ogg", Channel.SOUND, {"Alarm"}),
        ("programme.mp4", Channel.SPEECH, {"Dashwood", "leisure"}),
    ],
)
async def test_real_recognisers_on_samples(
    local: Models, tmp_path: Path, name: str, channel: Channel, words: set[str]
) -> None:
    found = await _chunks(local, tmp_path, (SAMPLES / name).read_bytes(), name)
    said = " ".join(chunk.text for chunk in found if chunk.channel is channel)
    assert all(word in said for word in words), said
    for chunk in found:
        for word in chunk.features.words:
            assert chunk.text[word.start_char : word.end_char] == word.text
        for line in chunk.features.ocr:
            assert chunk.text[line.start_char : line.end_char] == line.text
            assert chunk.box is not None
            assert chunk.box[0] - 1e-4 <= line.box[0] <= line.box[2] <= chunk.box[2] + 1e-4
