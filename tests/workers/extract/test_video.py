"""Video: shots at their true times, key frames, and the sound on the same time line."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from schemas.chunks import Channel
from schemas.media import Modality
from tests.media import SAMPLES, photo, sound, tone, video
from tests.workers.extract.fakes import FakeModels, drafts
from workers.errors import LimitExceeded
from workers.extract.containers import outline
from workers.extract.draft import Draft, Source
from workers.extract.shots import Shot, shots
from workers.extract.video import read_video
from workers.limits import Limits

RED, GREEN, BLUE = (Image.blend(photo(320, 240, seed=seed), Image.new("RGB", (320, 240), colour), 0.6)
                    for seed, colour in ((1, "red"), (2, "green"), (3, "blue")))  # fmt: skip


def _shots(data: bytes, content_type: str = "video/mp4") -> list[Shot]:
    return list(shots(data, content_type, outline(data, content_type, Limits())))


async def _read(data: bytes, models: FakeModels | None = None, content_type: str = "video/mp4") -> list[Draft]:
    return await drafts(read_video(Source(data, content_type, "x.mp4"), models or FakeModels(), Limits()))


@pytest.mark.parametrize(
    ("content_type", "container", "codec", "fps"),
    [
        ("video/mp4", "mp4", "mpeg4", 10),
        ("video/webm", "webm", "libvpx", 10),
        ("video/x-matroska", "matroska", "mpeg4", 24),
        ("video/mp2t", "mpegts", "mpeg2video", 25),
        ("video/x-msvideo", "avi", "mpeg4", 15),
    ],
)
def test_cuts_are_found_where_they_are(content_type: str, container: str, codec: str, fps: int) -> None:
    data = video([(RED, 2), (GREEN, 3), (BLUE, 2)], container=container, codec=codec, fps=fps)
    found = _shots(data, content_type)
    assert [shot.start_ms for shot in found] == pytest.approx([0, 2000, 5000], abs=1000 / fps + 5)
    assert found[-1].end_ms == pytest.approx(7000, abs=1000 / fps + 5)
    assert [int(shot.picture.mean(axis=(0, 1)).argmax()) for shot in found] == [0, 1, 2]
    for shot in found:
        assert shot.start_ms <= shot.picture_ms < shot.end_ms


def test_a_long_shot_is_split() -> None:
    found = _shots(video([(RED, 50)], fps=5))
    assert len(found) == 3
    assert all(shot.end_ms - shot.start_ms <= 20_200 for shot in found)


def test_the_key_frame_is_sharp() -> None:
    blurred = RED.filter(ImageFilter.GaussianBlur(6))
    (only,) = _shots(video([(blurred, 2), (RED, 1), (blurred, 2)]))
    assert 1900 <= only.picture_ms <= 3000


def test_one_frame_is_a_shot() -> None:
    (only,) = _shots(video([(RED, 0.1)]))
    assert only.start_ms == 0
    assert only.end_ms == pytest.approx(100, abs=5)


async def test_pictures_and_sound_come_in_order_of_time() -> None:
    wave = np.concatenate([tone(4, loudness=0.1), tone(6, loudness=0.8)])
    found = await _read(video([(RED, 5), (BLUE, 5)], wave=wave))
    assert {draft.modality for draft in found} == {Modality.VIDEO}
    pictures = [draft for draft in found if draft.channel is Channel.PICTURE]
    assert [draft.text.split(",")[0] for draft in pictures] == ["red", "blue"]
    assert [draft.start_ms for draft in pictures] == pytest.approx([0, 5000], abs=105)
    said = next(draft for draft in found if draft.channel is Channel.SPEECH)
    assert said.start_ms is not None
    assert 2000 <= said.start_ms <= 4500
    assert any(draft.channel is Channel.SOUND for draft in found)
    assert len({draft.place for draft in found}) == len(found)


async def test_an_unchanged_picture_is_not_looked_at_again() -> None:
    models = FakeModels()
    found = await _read(video([(RED.resize((160, 120)), 45)], fps=5), models)
    assert len(found) == 3
    assert models.labeller.seen == 1


async def test_a_container_of_only_sound_is_audio() -> None:
    found = await _read(sound(tone(2, loudness=0.1), "mp4", "aac"))
    assert {draft.modality for draft in found} == {Modality.AUDIO}


def test_bounds() -> None:
    data = video([(RED, 2)])
    with pytest.raises(LimitExceeded, match="pixels"):
        outline(data, "video/mp4", Limits(max_pixels=1000))
    with pytest.raises(LimitExceeded, match="lasts"):
        outline(data, "video/mp4", Limits(max_seconds=1))


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="no samples in this checkout")
def test_the_sample_has_its_three_shots() -> None:
    found = _shots((SAMPLES / "programme.mp4").read_bytes())
    assert len(found) >= 2
    assert found[-1].end_ms == pytest.approx(17_800, abs=100)
