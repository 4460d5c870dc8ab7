"""Pictures and sounds into the text space by ConSE (Norouzi et al. 2013, arXiv 1312.5650).

The vector of a picture is the mean of the text vectors of its class names, weighted by their probabilities; so is that
of a region and of a window of sound. One space for all modalities comes of it, without any training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from schemas.chunks import Label
from workers.models import weights
from workers.models.base import Embedding, Floats, ImageInput, Parts, SoundInput, TextEncoder

DATA = Path(__file__).parent / "data"
CLASS_FILES = {"picture": DATA / "imagenet_classes.txt", "sound": DATA / "audioset_classes.txt"}
WORDINGS = {
    "picture": ("{}", "a photo of a {}", "a picture that shows a {}"),
    "sound": ("{}", "the sound of {}", "a recording of {}"),
}
"""How a class name is put into words; the vectors of all wordings are averaged."""

TOP_CLASSES = 10
"""ConSE's T: classes beyond the tenth are noise."""

SHARPNESS = {"picture": 1.0, "sound": 1.0}
"""Probabilities are raised to this power before they are mixed."""

PLACE_UNIT = 10_000

PINNED_ENCODER = "minilm-l6"
"""Its weights are pinned, so its class vectors can be kept; another checkpoint may change under its name."""

Kind = Literal["picture", "sound"]


class ClassVectors:
    """The text vectors of all class names of one kind; those of the pinned encoder are kept beside the weights."""

    def __init__(self, kind: Kind, text: TextEncoder) -> None:
        names = CLASS_FILES[kind].read_text().splitlines()
        self._row = {name: number for number, name in enumerate(names)}
        is_pinned = text.name == PINNED_ENCODER
        self._vectors = _cached(kind, names, text) if is_pinned else _encoded(kind, names, text)
        self._sharpness = SHARPNESS[kind]
        self.dimension = self._vectors.shape[1]

    def mix(self, labels: Sequence[Label]) -> Floats:
        """``(d,)``, unit length: the mean of the class vectors by probability. Unknown names count nothing.

        Without a known name it is the zero vector, similar to nothing: extract hands on only what has labels.
        """
        known = [label for label in labels if label.name in self._row][:TOP_CLASSES]
        if not known:
            return np.zeros(self.dimension, dtype=np.float32)
        shares = np.array([label.score for label in known]) ** self._sharpness
        mixed = (shares @ self._vectors[[self._row[label.name] for label in known]]).astype(np.float32)
        length = float(np.linalg.norm(mixed))
        return mixed / length if length else mixed


class ConseImageEncoder:
    """Pictures by what the labeller saw in them; the pixels are not looked at again."""

    name = "conse-efficientnet-lite0"

    def __init__(self, text: TextEncoder) -> None:
        self._classes = ClassVectors("picture", text)
        self.dimension = self._classes.dimension

    def encode(self, images: Sequence[ImageInput]) -> list[Embedding]:
        """One embedding a picture, its regions as parts."""
        return [self._one(image) for image in images]

    def _one(self, image: ImageInput) -> Embedding:
        places = [(round(value * PLACE_UNIT) for value in region.box) for region in image.regions]
        vectors = [self._classes.mix(region.labels) for region in image.regions]
        whole = self._classes.mix(image.labels)
        return Embedding(
            whole, _parts(vectors or [whole], [tuple(p) for p in places] or [(0, 0, PLACE_UNIT, PLACE_UNIT)])
        )


class ConseSoundEncoder:
    """Sounds by what the tagger heard in them: the whole by the loudest of each class, windows as parts."""

    name = "conse-yamnet"

    def __init__(self, text: TextEncoder) -> None:
        self._classes = ClassVectors("sound", text)
        self.dimension = self._classes.dimension

    def encode(self, sounds: Sequence[SoundInput]) -> list[Embedding]:
        """One embedding a sound, its windows as parts."""
        return [self._one(sound) for sound in sounds]

    def _one(self, sound: SoundInput) -> Embedding:
        whole = self._classes.mix(loudest(sound))
        vectors = [self._classes.mix(window.labels) for window in sound.windows]
        places = [(window.start_ms, window.end_ms, 0, 0) for window in sound.windows]
        return Embedding(whole, _parts(vectors or [whole], places or [(0, 0, 0, 0)]))


def loudest(sound: SoundInput) -> list[Label]:
    """Each class at its highest score over all windows, best first."""
    scores: dict[str, float] = {}
    for window in sound.windows:
        for label in window.labels:
            scores[label.name] = max(label.score, scores.get(label.name, 0.0))
    return [Label(name=name, score=score) for name, score in sorted(scores.items(), key=lambda pair: -pair[1])]


def _parts(vectors: Sequence[Floats], places: Sequence[tuple[int, ...]]) -> Parts:
    return Parts(
        np.stack(vectors).astype(np.float32),
        np.array(places, dtype=np.int32).reshape(-1, 4),
        np.ones(len(vectors), dtype=np.float32),
    )


def _cached(kind: Kind, names: Sequence[str], text: TextEncoder) -> Floats:
    """The class vectors from the cache, which is named after everything that they depend on."""
    recipe = "\n".join((text.name, weights.MINILM.sha256, *WORDINGS[kind], *names))
    file = weights.prepared_dir() / f"classes-{kind}-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}.npy"
    if file.is_file():
        loaded: Floats = np.load(file, allow_pickle=False)
        return loaded
    vectors = _encoded(kind, names, text)
    weights.save_array(file, vectors)
    return vectors


def _encoded(kind: Kind, names: Sequence[str], text: TextEncoder) -> Floats:
    """``(n, d)``, unit rows: the mean over all wordings of each name."""
    wordings = [[wording.format(name) for name in names] for wording in WORDINGS[kind]]
    mean = np.mean([np.stack([found.vector for found in text.encode(texts)]) for texts in wordings], axis=0)
    vectors: Floats = (mean / np.linalg.norm(mean, axis=1, keepdims=True)).astype(np.float32)
    return vectors


def prepare_class_vectors() -> None:
    """Make the caches, so that no worker has to."""
    from workers.models.text import LocalTextEncoder

    text = LocalTextEncoder(threads=2)
    for kind in ("picture", "sound"):
        ClassVectors(kind, text)
