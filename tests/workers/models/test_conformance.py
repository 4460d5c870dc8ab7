"""One suite for every profile: what each capability promises, whoever implements it."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from schemas.chunks import Region
from workers.models import weights
from workers.models.base import SAMPLE_RATE, Embedding, ImageInput, Picture, SoundInput, Wave
from workers.models.conse import ConseSoundEncoder
from workers.models.profiles import Models

TEXTS = [
    "The night shift begins at ten.",
    "A cat",
    "Raw recordings are kept for ninety days, unless the archive editor decides otherwise in writing.",
    "Ω is not in every alphabet",
]


@pytest.fixture(scope="module", params=["fake", "hub", pytest.param("local", marks=pytest.mark.models)])
def models(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
    profile = str(request.param)
    hub = None
    if profile == "hub":
        from tests.workers.models.tiny import checkpoints

        hub = checkpoints(tmp_path_factory.mktemp("checkpoints"))
    made = Models(profile, threads=2, hub=hub)
    yield made
    made.close()


def picture(seed: int, width: int = 64, height: int = 48) -> Picture:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


def wave(seconds: float, hertz: float = 440.0) -> Wave:
    moments = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (0.3 * np.sin(2 * np.pi * hertz * moments)).astype(np.float32)


def image_input(models: Models, pixels: Picture) -> ImageInput:
    (labels,) = models.labeller.label([pixels])
    regions = (Region(box=(0.0, 0.0, 0.5, 1.0), labels=labels), Region(box=(0.5, 0.0, 1.0, 1.0), labels=labels))
    return ImageInput(labels=labels, regions=regions, load=lambda: pixels)


def sound_input(models: Models, samples: Wave) -> SoundInput:
    return SoundInput(windows=models.tagger.tag(samples), load=lambda: samples)


def assert_good(found: Embedding, dimension: int) -> None:
    assert found.vector.shape == (dimension,)
    assert np.linalg.norm(found.vector) == pytest.approx(1.0, abs=1e-4)
    count = len(found.parts.vectors)
    assert count > 0
    assert found.parts.vectors.shape == (count, dimension)
    assert found.parts.places.shape == (count, 4)
    assert found.parts.weights.shape == (count,)
    assert np.allclose(np.linalg.norm(found.parts.vectors, axis=1), 1.0, atol=1e-3)
    assert np.all(found.parts.weights >= 0)


def test_the_dimension_is_known_and_the_same_for_all(models: Models) -> None:
    widths = {models.dimension, models.text.dimension, models.image.dimension, models.sound.dimension}
    assert len(widths) == 1
    assert models.generation


def test_words(models: Models) -> None:
    together = models.text.encode(TEXTS)
    assert len(together) == len(TEXTS)
    for text, found in zip(TEXTS, together, strict=True):
        assert_good(found, models.dimension)
        starts, ends = found.parts.places[:, 0], found.parts.places[:, 1]
        assert np.all((starts >= 0) & (starts < ends) & (ends <= len(text)))
    assert models.text.encode([]) == []
    with pytest.raises(ValueError, match="empty"):
        models.text.encode(["good", "  "])


def test_pictures(models: Models) -> None:
    inputs = [image_input(models, picture(seed)) for seed in range(3)]
    for found in models.image.encode(inputs):
        assert_good(found, models.dimension)
        assert found.parts.places.tolist() == [[0, 0, 5000, 10000], [5000, 0, 10000, 10000]]
    assert models.image.encode([]) == []


def test_sounds(models: Models) -> None:
    inputs = [sound_input(models, wave(seconds)) for seconds in (0.3, 3.0)]
    for found, given in zip(models.sound.encode(inputs), inputs, strict=True):
        assert_good(found, models.dimension)
        assert found.parts.places[:, :2].tolist() == [[window.start_ms, window.end_ms] for window in given.windows]
    assert models.sound.encode([]) == []


def test_class_vectors_are_kept_for_pinned_weights_only(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint may change under its name: what was kept for the old one would be silently wrong."""
    monkeypatch.setattr(weights, "prepared_dir", lambda: tmp_path)
    if models.profile != "fake":
        ConseSoundEncoder(models.text)
    assert bool(list(tmp_path.glob("classes-*"))) == (models.profile == "local")


def test_a_batch_equals_its_members(models: Models) -> None:
    inputs = [image_input(models, picture(seed)) for seed in range(3)]
    sounds = [sound_input(models, wave(2.0, hertz)) for hertz in (200.0, 900.0)]
    cases: list[tuple[list[Embedding], list[Embedding]]] = [
        (models.text.encode(TEXTS), [models.text.encode([text])[0] for text in TEXTS]),
        (models.image.encode(inputs), [models.image.encode([one])[0] for one in inputs]),
        (models.sound.encode(sounds), [models.sound.encode([one])[0] for one in sounds]),
    ]
    for together, alone in cases:
        for one, other in zip(together, alone, strict=True):
            assert np.allclose(one.vector, other.vector, atol=1e-4)
            assert np.allclose(one.parts.vectors, other.parts.vectors, atol=2e-3)


def test_the_same_again_is_the_same(models: Models) -> None:
    first, second = (models.text.encode(TEXTS[:1])[0] for _ in range(2))
    assert np.array_equal(first.vector, second.vector)
    assert models.labeller.label([picture(1)]) == models.labeller.label([picture(1)])


def test_labels_of_a_batch_are_those_of_its_members(models: Models) -> None:
    pictures = [picture(1), picture(2, 300, 20), picture(3, 50, 50)]
    for together, alone in zip(
        models.labeller.label(pictures), map(models.labeller.label, ([p] for p in pictures)), strict=True
    ):
        assert together[0].name == alone[0][0].name
        assert together[0].score == pytest.approx(alone[0][0].score, abs=1e-3)


def test_labels_are_probabilities_best_first(models: Models) -> None:
    assert models.labeller.label([]) == []
    for labels in models.labeller.label([picture(1), picture(2, 300, 20)]):
        scores = [label.score for label in labels]
        assert labels
        assert scores == sorted(scores, reverse=True)
        assert sum(scores) <= 1.0001


def test_windows_cover_the_sound(models: Models) -> None:
    windows = models.tagger.tag(wave(4.0))
    assert windows[0].start_ms == 0
    assert windows[-1].end_ms >= 3500
    assert all(after.start_ms <= before.end_ms for before, after in itertools.pairwise(windows))
    assert models.tagger.tag(np.zeros(0, np.float32)) == ()


def test_nobody_speaks_in_silence(models: Models) -> None:
    transcript = models.speech.transcribe(np.zeros(SAMPLE_RATE, np.float32))
    for segment in transcript.segments:  # a random model may hear something; its times are still sound
        assert 0 <= segment.start_ms <= segment.end_ms <= 1000
    if models.profile != "hub":
        assert transcript.segments == ()


def test_the_generator_repeats_itself_and_can_be_closed(models: Models) -> None:
    generator = models.generator
    assert generator is not None
    prompt = "[1] The batteries last for twenty minutes.\nAnswer:"
    first, second = ("".join(generator.stream(prompt, max_tokens=6)) for _ in range(2))
    assert first == second
    pieces = generator.stream(prompt, max_tokens=400)
    next(pieces)
    closed: Callable[[], None] = getattr(pieces, "close")  # noqa: B009  # the protocol is an iterator, these are generators
    closed()
    assert "".join(generator.stream(prompt, max_tokens=6)) == first


async def test_work_that_is_cancelled_twice_is_waited_for(models: Models) -> None:
    started, release, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        release.wait(10)
        ended.set()

    task = asyncio.create_task(models.run(work))
    await asyncio.to_thread(started.wait, 10)
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0.05)
        assert not task.done()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_all_work_is_done_in_one_thread_that_is_not_the_loops(models: Models) -> None:
    threads = set(await asyncio.gather(*(models.run(threading.get_ident) for _ in range(4))))
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_ocr_can_be_turned_off(models: Models, tmp_path: Path) -> None:
    assert Models(models.profile, threads=1, ocr=False).reader is None
    reader = models.reader
    assert reader is not None
    assert reader.read(np.full((40, 40, 3), 255, np.uint8)) == ()
