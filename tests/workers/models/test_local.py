"""The local models on real media: what they must get right for anything else to work."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from workers.models.base import SAMPLE_RATE, Picture, Wave
from workers.models.profiles import Models
from workers.models.text import LocalTextEncoder

pytestmark = pytest.mark.models
SAMPLES = Path(__file__).parents[3] / "samples"
MOST_WASTE = 1.15


@pytest.fixture(scope="module")
def models() -> Iterator[Models]:
    made = Models("local", threads=2)
    yield made
    made.close()


def picture(name: str) -> Picture:
    return np.asarray(Image.open(SAMPLES / name).convert("RGB"))


def sound(name: str) -> Wave:
    resampler = av.AudioResampler("s16", "mono", SAMPLE_RATE)
    with av.open(str(SAMPLES / name)) as file:
        frames = [piece for frame in file.decode(audio=0) for piece in resampler.resample(frame)]
    samples = np.concatenate([frame.to_ndarray().ravel() for frame in frames])
    return (samples / 32768).astype(np.float32)


def test_near_meanings_are_near(models: Models) -> None:
    cat, kitten, invoice = (found.vector for found in models.text.encode(["a cat", "a kitten", "an unpaid invoice"]))
    assert cat @ kitten > 0.6
    assert cat @ invoice < 0.3


def test_little_is_computed_for_padding() -> None:
    encoder = LocalTextEncoder(threads=2)
    mixed = random.Random(7)
    texts = [" ".join(["word"] * mixed.randint(3, 220)) for _ in range(160)]
    found = encoder.encode(texts)
    assert encoder.padded_tokens / encoder.real_tokens <= MOST_WASTE
    assert np.allclose(found[17].vector, encoder.encode([texts[17]])[0].vector, atol=1e-4), "the order is kept"


@pytest.mark.parametrize(
    ("name", "expected"), [("cat.jpg", "cat"), ("coffee.jpg", "espresso"), ("rocket.jpg", "missile")]
)
def test_a_photo_is_what_it_shows(models: Models, name: str, expected: str) -> None:
    (labels,) = models.labeller.label([picture(name)])
    assert expected in labels[0].name


def test_an_alarm_clock_is_heard(models: Models) -> None:
    windows = models.tagger.tag(sound("alarm-clock.ogg"))
    best = [label.name for window in windows for label in window.labels[:4]]
    assert "Alarm clock" in best
    assert windows[1].start_ms == 480


def test_a_scanned_page_is_read_with_boxes(models: Models) -> None:
    assert models.reader is not None
    lines = models.reader.read(picture("scanned-page.png"))
    text = " ".join(line.text for line in lines)
    assert "the markers are found at the two extreme parts of the histogram of grey values" in text
    tops = [line.box[1] for line in lines]
    assert tops == sorted(tops)
    assert all(0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1 for x0, y0, x1, y1 in (line.box for line in lines))


def test_read_speech_is_transcribed_with_word_times(models: Models) -> None:
    transcript = models.speech.transcribe(sound("reading.flac"))
    words = [word for segment in transcript.segments for word in segment.words]
    text = " ".join(word.text for word in words)
    assert transcript.language == "en"
    assert "ill-disposed young man" in text
    assert "respectable than he was" in text
    starts = [word.start_ms for word in words]
    assert starts == sorted(starts)
    assert words[-1].end_ms <= 14_500
