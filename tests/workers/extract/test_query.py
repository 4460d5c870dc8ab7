"""Questions: words, a picture, a sound, a video, and what they are to be refused for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from schemas.chunks import OcrLine
from schemas.queries import QueryAsked, QueryMedia
from tests.media import image, page_picture, photo, sound, tone, video
from tests.workers.extract.fakes import FakeModels, MemoryBlobs
from workers.errors import InvalidEvent, InvalidMedia, LimitExceeded
from workers.extract.query import QueryFeatures, read_query
from workers.limits import Limits

LINES = [OcrLine(text="Platform nine", box=(0.1, 0.1, 0.4, 0.2), score=0.95)]


async def _read(models: FakeModels | None = None, blobs: MemoryBlobs | None = None, **parts: Any) -> QueryFeatures:
    asked = QueryAsked.model_validate({"query_id": "q", **parts})
    return await read_query(asked, blobs or MemoryBlobs(), models or FakeModels(), Limits())


def _media(data: bytes, content_type: str = "") -> QueryMedia:
    return QueryMedia(data=data, content_type=content_type)


async def test_words_alone() -> None:
    found = await _read(question="  Where is the cat? ")
    assert found == QueryFeatures(text="Where is the cat?")


async def test_a_picture_gives_labels_regions_words_and_pixels() -> None:
    found = await _read(FakeModels(LINES), question="Where?", image=_media(image(page_picture(["x"], 640, 480))))
    assert found.text == "Where?\nPlatform nine"
    (picture,) = found.images
    assert len(picture.regions) == 6
    assert picture.load().shape == (480, 640, 3)
    assert set(found.labels) == {"red", "green", "blue"}


async def test_a_sound_gives_windows_and_what_is_said() -> None:
    wave = np.concatenate([tone(3, loudness=0), tone(6, loudness=0.8)])
    found = await _read(audio=_media(sound(wave), "audio/wav"))
    (heard,) = found.sounds
    assert {window.labels[0].name for window in heard.windows} == {"Speech"}
    assert len(heard.load()) == len(wave)
    assert found.text.startswith("word0")
    assert found.labels[0] == "Speech"


async def test_a_video_gives_both() -> None:
    pictures = [
        (Image.blend(photo(seed=n), Image.new("RGB", (400, 320), colour), 0.7), 2.0)
        for n, colour in enumerate(("red", "blue"))
    ]
    found = await _read(video=_media(video(pictures, wave=tone(4, loudness=0.1))))
    assert len(found.images) == 2
    assert len(found.sounds) == 1
    assert {"red", "blue", "Dog"} <= set(found.labels)


async def test_a_sound_may_come_out_of_a_video_and_from_the_blob_store() -> None:
    blobs = MemoryBlobs()
    ref = blobs.put(video([(photo(), 2)], wave=tone(2, loudness=0.1)), "video/mp4")
    found = await _read(blobs=blobs, audio=QueryMedia(blob=ref))
    assert len(found.sounds) == 1


@pytest.mark.parametrize(
    ("parts", "error"),
    [
        ({}, InvalidEvent),
        ({"question": "  "}, InvalidEvent),
        ({"audio": _media(sound(tone(2, loudness=0)))}, InvalidEvent),
        ({"image": _media(b"")}, InvalidMedia),
        ({"image": QueryMedia()}, InvalidEvent),
        ({"image": _media(sound(tone(1)))}, InvalidEvent),
        ({"image": _media(b"%PDF-1.7 ...")}, InvalidEvent),
        ({"video": _media(image(photo()))}, InvalidEvent),
        ({"audio": _media(sound(tone(301, rate=800), rate=800))}, LimitExceeded),
    ],
)
async def test_what_cannot_be_asked(parts: dict[str, Any], error: type[InvalidEvent]) -> None:
    with pytest.raises(error) as caught:
        await _read(**parts)
    assert caught.value.hint
