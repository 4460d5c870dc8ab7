"""The local models on real media: what they must get right for anything else to work."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from workers.models.base import SAMPLE_RATE, Picture, Wave
from workers.models.profiles import Models
from workers.models.text import LocalTextEncoder
from workers.models.vision import Convolution

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
    ("name", "expected", "within"),
    [("cat.jpg", "cat", 1), ("coffee.jpg", "espresso", 1), ("rocket.jpg", "missile", 2)],  # first: its launch tower
)
def test_a_photo_is_what_it_shows(models: Models, name: str, expected: str, within: int) -> None:
    (labels,) = models.labeller.label([picture(name)])
    assert any(expected in label.name for label in labels[:within])


def test_what_stands_at_the_side_of_a_wide_picture_is_seen(models: Models) -> None:
    cat = picture("cat.jpg")
    height, width = cat.shape[:2]
    wide = np.full((height, 2 * width, 3), 255, np.uint8)
    wide[:, :width] = cat
    assert any("cat" in label.name or "tabby" in label.name for label in models.labeller.label([wide])[0][:3])


def test_a_stride_of_two_pads_to_the_right_and_below_as_in_tensorflow() -> None:
    ones = {name: torch.ones(1) for name in ("norm.weight", "norm.running_var")}
    source = {"conv.weight": torch.ones(1, 1, 3, 3), "norm.bias": torch.zeros(1), "norm.running_mean": torch.zeros(1)}
    layer = Convolution({**source, **ones}, "conv", "norm", stride=2, groups=1, relu=False)
    seen = layer(torch.ones(1, 1, 4, 4)).detach()[0, 0]
    assert torch.allclose(seen, torch.tensor([[9.0, 6.0], [6.0, 4.0]]), atol=0.02)  # symmetric: 4, 6, 6, 9


def test_a_fault_of_the_engine_is_not_the_end_of_an_answer(monkeypatch: pytest.MonkeyPatch, models: Models) -> None:
    generator = models.generator

    class Broken:
        def handle_completions(self, request: object, hear: Callable[[dict[str, object]], bool]) -> None:
            hear({"choices": [{"text": "half an"}]})
            raise RuntimeError("the engine died")

    monkeypatch.setattr(generator, "_server", Broken())
    assert generator is not None
    pieces = generator.stream("anything", max_tokens=3)
    assert next(pieces) == "half an"
    with pytest.raises(RuntimeError, match="the engine died"):
        next(pieces)


def test_all_recognisers_of_text_are_loaded_before_the_first_page(models: Models) -> None:
    engine = getattr(models.reader, "_engine")  # noqa: B009  # the protocol does not have it
    assert None not in (engine.text_det, engine.text_rec, engine.text_cls)


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
