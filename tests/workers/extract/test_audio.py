"""Sound: samples with true times, speech and events on one time line, clips that play."""

from __future__ import annotations

import io
from itertools import pairwise

import av
import numpy as np
import pytest

from schemas.chunks import Channel
from schemas.media import Modality
from tests.media import SAMPLES, sound, tone
from tests.workers.extract.fakes import FakeModels, drafts
from workers.errors import InvalidMedia, LimitExceeded
from workers.extract.audio import read_audio
from workers.extract.containers import opened, outline
from workers.extract.draft import Draft, Source
from workers.extract.waves import flac, stretches
from workers.limits import Limits
from workers.models.base import SAMPLE_RATE, Wave

FORMATS = [
    ("audio/wav", "wav", "pcm_s16le"),
    ("audio/wav", "wav", "pcm_u8"),
    ("audio/flac", "flac", "flac"),
    ("audio/mpeg", "mp3", "libmp3lame"),
    ("audio/ogg", "ogg", "libopus"),
    ("audio/aac", "adts", "aac"),
    ("audio/aiff", "aiff", "pcm_s16be"),
    ("audio/mp4", "mp4", "aac"),
    ("audio/webm", "webm", "libopus"),
]
SAID, BARK, QUIET = tone(6, loudness=0.8), tone(3, loudness=0.1), tone(2, loudness=0)


def _decoded(data: bytes, content_type: str, *, longest_s: float = 300) -> list[tuple[int, Wave]]:
    found = outline(data, content_type, Limits())
    return [(piece.start_ms, piece.wave) for piece in stretches(data, content_type, found, longest_s=longest_s)]


async def _read(data: bytes, content_type: str = "audio/wav", models: FakeModels | None = None) -> list[Draft]:
    return await drafts(read_audio(Source(data, content_type, "x.wav"), models or FakeModels(), Limits()))


@pytest.mark.parametrize(("content_type", "container", "codec"), FORMATS)
def test_every_format_gives_the_same_sound(content_type: str, container: str, codec: str) -> None:
    ((start, wave),) = _decoded(sound(tone(2), container, codec), content_type)
    assert start == 0
    assert len(wave) == pytest.approx(2 * SAMPLE_RATE, abs=0.15 * SAMPLE_RATE)
    assert wave.dtype == np.float32
    middle = wave[SAMPLE_RATE // 2 : SAMPLE_RATE]
    spectrum = np.abs(np.fft.rfft(middle))
    assert abs(int(spectrum.argmax()) * SAMPLE_RATE / len(middle) - 440) < 5
    assert float(np.abs(middle).max()) == pytest.approx(0.3, abs=0.05)


def test_other_rates_are_resampled() -> None:
    ((_, wave),) = _decoded(sound(tone(1, rate=44_100), rate=44_100), "audio/wav")
    assert len(wave) == pytest.approx(SAMPLE_RATE, abs=20)


def test_long_sound_comes_in_pieces_cut_where_it_is_quiet() -> None:
    wave = tone(50, loudness=0.5)
    wave[int(17.5 * SAMPLE_RATE) : 18 * SAMPLE_RATE] = 0
    pieces = _decoded(sound(wave), "audio/wav", longest_s=20)
    assert 17_500 <= pieces[1][0] <= 18_000
    assert sum(len(piece) for _, piece in pieces) == len(wave)
    for (start, piece), (following, _) in pairwise(pieces):
        assert following == pytest.approx(start + len(piece) * 1000 / SAMPLE_RATE, abs=1)
        assert len(piece) <= 20 * SAMPLE_RATE


async def test_speech_and_events_share_the_time_line() -> None:
    models = FakeModels()
    found = await _read(sound(np.concatenate([QUIET, BARK, QUIET, QUIET, SAID])), models=models)
    said = [draft for draft in found if draft.channel is Channel.SPEECH]
    heard = [draft for draft in found if draft.channel is Channel.SOUND]
    assert {draft.modality for draft in found} == {Modality.AUDIO}
    assert [draft.features.language for draft in said] == ["en"]
    assert said[0].start_ms is not None
    assert 7_000 <= said[0].start_ms <= 9_000
    assert said[0].text.startswith("word0 word1")
    first = said[0].features.words[0]
    assert first.start_ms == said[0].start_ms
    dog = next(draft for draft in heard if draft.text.startswith("Dog"))
    assert dog.start_ms is not None
    assert dog.end_ms is not None
    assert 1000 <= dog.start_ms <= 2000
    assert 5000 <= dog.end_ms <= 6000
    assert dog.text == "Dog, Animal (0:01\u20130:06)"
    assert all(label.name != "Silence" for draft in heard for label in draft.features.labels)
    assert models.speech.heard_s < 9, "only where somebody speaks is transcribed"


async def test_clips_can_be_played_and_last_as_long_as_their_span() -> None:
    for draft in await _read(sound(np.concatenate([SAID, BARK]))):
        assert draft.clip is not None
        assert draft.clip.content_type == "audio/flac"
        ((_, wave),) = _decoded(draft.clip.data, "audio/flac")
        assert draft.start_ms is not None
        assert draft.end_ms is not None
        assert len(wave) * 1000 / SAMPLE_RATE == pytest.approx(draft.end_ms - draft.start_ms, abs=2)


async def test_nobody_speaks_so_nothing_is_transcribed() -> None:
    models = FakeModels()
    await _read(sound(BARK), models=models)
    assert models.speech.heard_s == 0


async def test_silence_is_a_document_without_chunks() -> None:
    assert await _read(sound(QUIET)) == []


async def test_a_very_short_sound_is_heard() -> None:
    (only,) = await _read(sound(tone(0.3, loudness=0.1)))
    assert (only.start_ms, only.end_ms) == (0, 300)


def test_a_clip_gives_back_the_samples() -> None:
    wave = tone(1, loudness=0.7)
    ((_, back),) = _decoded(flac(wave), "audio/flac")
    assert np.abs(back - wave).max() < 1e-4


def test_bounds_and_broken_files() -> None:
    with pytest.raises(LimitExceeded, match="lasts 3 s") as caught:
        outline(sound(tone(3)), "audio/wav", Limits(max_seconds=2))
    assert "MAX_SECONDS" in caught.value.hint
    with pytest.raises(InvalidMedia, match="cut off"):
        outline(sound(tone(3))[:5000], "audio/wav", Limits())
    with pytest.raises(InvalidMedia, match="cannot be read"):
        outline(b"RIFF\0\0\0\0WAVE", "audio/wav", Limits())


def test_no_script_reaches_a_file_of_this_machine() -> None:
    for script in (b"ffconcat version 1.0\nfile /etc/passwd\n", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"):
        for content_type in ("audio/wav", "video/mp4", "video/mp2t", "audio/mpeg"):
            with pytest.raises(InvalidMedia), opened(script, content_type):
                pass


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="no samples in this checkout")
def test_the_samples_decode() -> None:
    for path, content_type in ((SAMPLES / "reading.flac", "audio/flac"), (SAMPLES / "alarm-clock.ogg", "audio/ogg")):
        data = path.read_bytes()
        with av.open(io.BytesIO(data), "r") as file:
            assert file.duration is not None
            seconds = file.duration / av.time_base
        assert sum(len(wave) for _, wave in _decoded(data, content_type)) == pytest.approx(
            seconds * SAMPLE_RATE, rel=0.02
        )
