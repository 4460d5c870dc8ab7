"""The part of a picture that shows it, the seconds of a sound in which it is heard.

In: a compared chunk without words. Out: one piece whose text names what is shown or heard, with its box or its seconds.
Raises nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from schemas.chunks import Box, Label, Region, SoundWindow
from workers.arrays import unpack
from workers.extract.picture import WHOLE, within
from workers.models.base import Floats
from workers.refining.piece import Compared, Piece, Question
from workers.words import content

STANDS_OUT = 0.06
"""How much better than the whole picture a region must fit, as a cosine, to be pointed at.

Where the same thing fills both, they differ by less: by 0.01 to 0.05 on the photographs of the samples."""
HEARD_SHARE = 0.8
"""Windows that fit at least so well, in shares of the best one, belong to the same sound. An alarm that rings for six
seconds has windows from 0.5 to 0.63; what is heard beside music has less than half of its cosine."""
_GAP = 2
"""Windows overlap by half: one that fits less, between two that do, is no pause."""
NAMED_FROM = 0.1
"""Probability from which a label is worth naming; the best one always is."""
MOST_NAMES = 3
_UNITS = 10_000
_NEAR = 2 / _UNITS


def show(compared: Compared, question: Question) -> Piece:
    """A picture or a shot: the region that fits best, if one stands out, and what it shows."""
    chunk, parts = compared.chunk, compared.parts
    box: Box | None = chunk.box
    labels: Sequence[Label] = chunk.features.labels or _likeliest(_of_regions(chunk.features.regions))
    if len(parts.places) > 1:
        fits = _fits(compared, question)
        boxes = parts.places / _UNITS
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        whole, best = int(np.argmax(area)), int(np.argmax(fits))
        if question.stems and fits[best] >= fits[whole] + STANDS_OUT:  # a question in words: it may mean a part
            x0, y0, x1, y1 = (float(side) for side in boxes[best])
            region = (x0, y0, x1, y1)
            labels = _labels_at(compared, region) or labels
            box = within(region, chunk.box or WHOLE)
    if box == WHOLE:
        box = None
    return _piece(compared, question, labels).with_place(box=box, start_ms=chunk.start_ms, end_ms=chunk.end_ms)


def hear(compared: Compared, question: Question) -> Piece:
    """A sound: the windows in which it is heard, and what it is."""
    chunk, windows = compared.chunk, compared.chunk.features.windows
    start_ms, end_ms = chunk.start_ms, chunk.end_ms
    if len(compared.parts.places):
        first, last = _stretch(_fits(compared, question))
        start_ms = int(compared.parts.places[first, 0])
        end_ms = int(compared.parts.places[last, 1])
    heard = [window for window in windows if _overlaps(window, start_ms, end_ms)]
    labels = _likeliest(label for window in heard for label in window.labels) or chunk.features.labels
    return _piece(compared, question, labels).with_place(start_ms=start_ms, end_ms=end_ms)


def _piece(compared: Compared, question: Question, labels: Sequence[Label]) -> Piece:
    text = named(labels, question.stems) or compared.chunk.text or compared.chunk.title
    return Piece(compared.chunk, compared.candidate.score, text, unpack(compared.candidate.item.vector))


def named(labels: Sequence[Label], stems: frozenset[str] = frozenset()) -> str:
    """The likeliest names; those that the question names come first, however unlikely: it asked for them."""
    asked = [label.name for label in labels if stems & set(content(label.name))]
    likely = [label.name for label in labels if label.score >= NAMED_FROM] or [label.name for label in labels[:1]]
    return ", ".join(list(dict.fromkeys([*asked, *likely]))[:MOST_NAMES])


def _fits(compared: Compared, question: Question) -> Floats:
    """``(m,)``: how well each region or window fits the question as a whole: the weighted mean over its parts."""
    return np.asarray(question.weights @ compared.similar * compared.parts.weights, dtype=np.float32)


def _stretch(fits: NDArray[np.float32]) -> tuple[int, int]:
    """The best window, and those around it that fit nearly as well."""
    best = int(np.argmax(fits))
    good = [number for number, fit in enumerate(fits) if fit >= HEARD_SHARE * fits[best]]
    first = last = best
    for number in good:
        if last < number <= last + _GAP:
            last = number
    for number in reversed(good):
        if first - _GAP <= number < first:
            first = number
    return first, last


def _of_regions(regions: Iterable[Region]) -> Iterator[Label]:
    for region in regions:
        yield from region.labels


def _labels_at(compared: Compared, box: Box) -> tuple[Label, ...]:
    for region in compared.chunk.features.regions:
        if np.allclose(region.box, box, atol=_NEAR):
            return region.labels
    return ()


def _overlaps(window: SoundWindow, start_ms: int | None, end_ms: int | None) -> bool:
    return start_ms is None or end_ms is None or (window.start_ms < end_ms and window.end_ms > start_ms)


def _likeliest(labels: Iterable[Label]) -> list[Label]:
    """Each name once, with its best score, best first."""
    best: dict[str, Label] = {}
    for label in labels:
        if label.name not in best or best[label.name].score < label.score:
            best[label.name] = label
    return sorted(best.values(), key=lambda label: -label.score)
