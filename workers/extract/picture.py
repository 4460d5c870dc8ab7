"""What is seen in one picture: labels of the whole and of its parts, and the text that stands in it.

In: RGB pixels. Out: ``Seen``, and from it the drafts of a picture chunk and of its written passages. The same code
reads a photo, a picture or a scanned page of a PDF, and a key frame of a video.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from schemas.chunks import Box, Channel, Features, Label, OcrLine, Region
from workers.extract.draft import Clip, Draft, Recognisers, shown
from workers.extract.ocr import ReadPassage, believable, may_hold_text, read_passages
from workers.models.base import Picture

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
_TILES: tuple[Box, ...] = (
    (0.0, 0.0, 0.55, 0.55),
    (0.45, 0.0, 1.0, 0.55),
    (0.0, 0.45, 0.55, 1.0),
    (0.45, 0.45, 1.0, 1.0),
    (0.25, 0.25, 0.75, 0.75),
)
"""Quarters that overlap, so that nothing small is cut by all of them, and the centre."""
_TILED_FROM = 300
"""Pixels of the shorter side; a quarter of a smaller picture has fewer than classifiers look at (224 and more)."""
_TILE_WEIGHT = 0.5
_CLIP_SIDE = 1024
_LABELS = 10


@dataclass(frozen=True, slots=True)
class Seen:
    """``labels`` merge the regions' labels; ``passages`` is what OCR read."""

    labels: tuple[Label, ...]
    regions: tuple[Region, ...]
    passages: tuple[ReadPassage, ...]


async def see(picture: Picture, models: Recognisers, *, read: bool = True) -> Seen:
    """Label ``picture`` and its tiles, and read the text in it unless ``read`` is false or OCR is turned off."""
    boxes = [WHOLE, *(_TILES if min(picture.shape[:2]) >= _TILED_FROM else ())]
    crops = [_crop(picture, box) for box in boxes]
    found = await models.run(lambda: models.labeller.label(crops))
    regions = tuple(Region(box=box, labels=labels) for box, labels in zip(boxes, found, strict=True))
    lines: list[OcrLine] = []
    if read and may_hold_text(picture):
        lines = believable(await models.run(_read, models, picture))
    aspect = picture.shape[1] / picture.shape[0]
    return Seen(merged(regions), regions, tuple(read_passages(lines, aspect=aspect)))


def _read(models: Recognisers, picture: Picture) -> tuple[OcrLine, ...]:
    return models.reader.read(picture) if models.reader is not None else ()


def _crop(picture: Picture, box: Box) -> Picture:
    height, width = picture.shape[:2]
    x0, y0, x1, y1 = box
    return np.ascontiguousarray(picture[round(y0 * height) : round(y1 * height), round(x0 * width) : round(x1 * width)])


def merged(regions: tuple[Region, ...]) -> tuple[Label, ...]:
    """Labels of the whole picture with those of its tiles: what fills a corner counts, too, at less weight."""
    scores: dict[str, float] = {}
    for region in regions:
        weight = 1.0 if region.box == WHOLE else _TILE_WEIGHT
        for label in region.labels:
            scores[label.name] = max(scores.get(label.name, 0.0), weight * label.score)
    best = sorted(scores.items(), key=lambda item: -item[1])[:_LABELS]
    return tuple(Label(name=name, score=score) for name, score in best)


def picture_drafts(seen: Seen, picture: Picture, like: Draft) -> list[Draft]:
    """The picture chunk and its written passages; ``like`` gives place, modality, title, page, times and outer box."""
    clip = Clip(jpeg(picture), "image/jpeg")
    outer = like.box or WHOLE
    shows = replace(
        like,
        channel=Channel.PICTURE,
        text=shown(seen.labels),
        box=outer,
        features=Features(labels=seen.labels, regions=seen.regions),
        clip=clip,
    )
    return [shows, *(_written(passage, number, shows) for number, passage in enumerate(seen.passages))]


def _written(passage: ReadPassage, number: int, shows: Draft) -> Draft:
    outer = shows.box or WHOLE
    lines = tuple(line.model_copy(update={"box": within(line.box, outer)}) for line in passage.lines)
    return replace(
        shows,
        place=f"{shows.place}:text:{number}",
        channel=Channel.TEXT,
        text=passage.text,
        box=within(passage.box, outer),
        features=Features(ocr=lines),
    )


def within(box: Box, outer: Box) -> Box:
    """``box``, which is in units of ``outer``, in the units that ``outer`` is in."""
    width, height = outer[2] - outer[0], outer[3] - outer[1]
    sides = (
        outer[0] + box[0] * width,
        outer[1] + box[1] * height,
        outer[0] + box[2] * width,
        outer[1] + box[3] * height,
    )
    return (_unit(sides[0]), _unit(sides[1]), _unit(sides[2]), _unit(sides[3]))


def _unit(value: float) -> float:
    return round(min(max(value, 0.0), 1.0), 5)


def jpeg(picture: Picture, *, longest: int = _CLIP_SIDE) -> bytes:
    """The picture as a JPEG of at most ``longest`` pixels a side."""
    image = Image.fromarray(picture)
    image.thumbnail((longest, longest))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=88)
    return out.getvalue()
