"""The features of a question: its words, and what its picture, sound or video shows and says.

In: ``QueryAsked``. Out: ``QueryFeatures``, for the retrieve stage to embed. The same recognisers read a question and a
document, so that both say the same of the same picture. Raises ``InvalidEvent`` (no usable part) and what reading media
raises (``InvalidMedia``, ``LimitExceeded``, ``ForbiddenUri``, ``TransientError``).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field

import numpy as np

from schemas.chunks import Label, SoundWindow
from schemas.media import Modality
from schemas.queries import QueryAsked
from workers.errors import InvalidEvent
from workers.extract.audio import hear
from workers.extract.containers import outline
from workers.extract.draft import Recognisers, Source
from workers.extract.image import pages
from workers.extract.picture import Seen, see
from workers.extract.shots import shots
from workers.extract.sources import Blobs, opened_source
from workers.limits import Limits
from workers.models.base import ImageInput, Picture, SoundInput, Wave
from workers.sandbox.pool import decoders

MAX_SECONDS = 300.0
"""A question's sound or video may last as long; somebody waits for its answer."""
_MAX_PICTURES = 8
_MAX_TEXT_CHARS = 4000
_MIN_SCORE = 0.1
_LABELS = 8


@dataclass(slots=True)
class QueryFeatures:
    """``text`` is the question with what was read and said in its media; ``labels`` name what they show, best first."""

    text: str = ""
    images: list[ImageInput] = field(default_factory=list)
    sounds: list[SoundInput] = field(default_factory=list)
    labels: tuple[str, ...] = ()


async def read_query(asked: QueryAsked, blobs: Blobs, models: Recognisers, limits: Limits) -> QueryFeatures:
    """Everything that retrieval needs to know of a question."""
    limits = limits.model_copy(update={"max_seconds": min(limits.max_seconds, MAX_SECONDS)})
    found = QueryFeatures()
    words = [asked.question.strip()]
    labels: list[Label] = []
    for kind, media in ((Modality.IMAGE, asked.image), (Modality.AUDIO, asked.audio), (Modality.VIDEO, asked.video)):
        if media is not None:
            async with opened_source(media, "", blobs, limits, decoders(limits, "questions")) as source:
                _check_kind(kind, source)
                words += await _read(source, models, limits, found, labels)
    found.text = "\n".join(part for part in words if part)[:_MAX_TEXT_CHARS]
    found.labels = _best(labels)
    if not (found.text or found.images or found.sounds):
        raise InvalidEvent("the question has no usable part", hint="ask with words, an image, a sound or a video")
    return found


def _check_kind(kind: Modality, source: Source) -> None:
    really = source.content_type.partition("/")[0]
    if really != kind and not (kind is Modality.AUDIO and really == "video"):
        raise InvalidEvent(
            f"the question's {kind} part is {source.content_type}",
            hint=f"ask with --{really}" if really in set(Modality) - {Modality.TEXT} else f"give it a file of {kind}",
        )


async def _read(
    source: Source, models: Recognisers, limits: Limits, found: QueryFeatures, labels: list[Label]
) -> list[str]:
    """Adds pictures and sounds to ``found``, their labels to ``labels``; returns the words in them."""
    words: list[str] = []
    async with aclosing(_pictures(source, limits)) as pictures:
        async for picture in pictures:
            seen = await see(picture, models)
            found.images.append(ImageInput(seen.labels, seen.regions, _loader(picture)))
            labels += seen.labels
            words += _written(seen)
    if not source.content_type.startswith("image/"):
        outlined = await source.decoding.call(outline, source.content_type, limits)
        if outlined.has_sound:
            words += await _hear(source, models, limits, found, labels)
    return words


async def _pictures(source: Source, limits: Limits) -> AsyncGenerator[Picture, None]:
    """The picture, or the key frames of the first shots."""
    if source.content_type.startswith("image/"):
        async with aclosing(source.decoding.each(pages, limits)) as found:
            async for _, picture in found:
                yield picture
                return
    elif source.content_type.startswith("video/"):
        outlined = await source.decoding.call(outline, source.content_type, limits)
        count = 0
        async with aclosing(source.decoding.each(shots, source.content_type, outlined)) as cut:
            async for shot in cut:
                yield shot.picture
                count += 1
                if count == _MAX_PICTURES:
                    return


async def _hear(
    source: Source, models: Recognisers, limits: Limits, found: QueryFeatures, labels: list[Label]
) -> list[str]:
    outlined = await source.decoding.call(outline, source.content_type, limits)
    words: list[str] = []
    async with aclosing(hear(source, models, outlined)) as stretched:
        async for heard in stretched:
            words += [passage.text for _, passage in heard.passages]
            windows = _sounding(heard.windows)
            if windows:
                found.sounds.append(SoundInput(windows, _sound_loader(heard.stretch.wave)))
                labels += [label for span in heard.spans for label in span.labels]
    return words


def _sounding(windows: Iterable[SoundWindow]) -> tuple[SoundWindow, ...]:
    return tuple(window for window in windows if window.labels and window.labels[0].name.lower() != "silence")


def _written(seen: Seen) -> list[str]:
    return [passage.text for passage in seen.passages]


def _loader(picture: Picture) -> Callable[[], Picture]:
    return lambda: picture


def _sound_loader(wave: Wave) -> Callable[[], Wave]:
    return lambda: np.ascontiguousarray(wave)


def _best(labels: Iterable[Label]) -> tuple[str, ...]:
    scores: dict[str, float] = {}
    for label in labels:
        scores[label.name] = max(scores.get(label.name, 0.0), label.score)
    best = sorted((name for name in scores if scores[name] >= _MIN_SCORE), key=lambda name: -scores[name])
    return tuple(best[:_LABELS])
