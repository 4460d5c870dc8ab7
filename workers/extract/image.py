"""Images: pixels in, one picture chunk a page and the passages that OCR reads in it.

In: JPEG, PNG, GIF, WebP, BMP or TIFF. Out: drafts of modality image; a TIFF of several pages gives them page by page,
an animation its most detailed frame. Raises ``InvalidMedia`` (broken), ``LimitExceeded`` (pixels, pages).
"""

from __future__ import annotations

import warnings
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager

import numpy as np
from PIL import Image, ImageOps, ImageSequence

from schemas.chunks import Channel
from schemas.media import Modality
from workers.errors import InvalidMedia, LimitExceeded
from workers.extract.draft import Draft, Recognisers, Source
from workers.extract.picture import picture_drafts, see
from workers.extract.threads import in_thread
from workers.limits import Limits
from workers.models.base import Picture
from workers.sandbox.held import Data, file_of

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")
LONGEST = 2000
"""Pixels of the longer side that recognisers get: an A4 page at 170 dpi, where 8-point print is still read."""
_ANIMATION_PIXELS = 2
"""An animation is looked at until it has shown this many times ``max_pixels``."""

# Above this many pixels Pillow itself refuses to open a file, whatever the limits are set to.
Image.MAX_IMAGE_PIXELS = 500_000_000
warnings.simplefilter("error", Image.DecompressionBombWarning)


async def read_image(source: Source, models: Recognisers, limits: Limits) -> AsyncGenerator[Draft, None]:
    """A picture chunk and the passages in it, page by page."""
    async with aclosing(source.decoding.each(pages, limits)) as found:
        async for page, picture in found:
            place = "image" if page is None else f"page:{page}"
            like = Draft(place=place, modality=Modality.IMAGE, channel=Channel.PICTURE, title=source.name, page=page)
            seen = await see(picture, models)
            for draft in await in_thread(picture_drafts, seen, picture, like):
                yield draft


def pages(data: Data, limits: Limits) -> Iterator[tuple[int | None, Picture]]:
    """The pictures of a file, upright, RGB, at most ``LONGEST`` a side; numbered where they are the pages of a TIFF."""
    with _reading(), Image.open(file_of(data), formats=FORMATS) as image:
        _check_size(image, limits)
        if image.format == "TIFF" and getattr(image, "n_frames", 1) > 1:
            yield from _tiff_pages(image, limits)
        elif getattr(image, "is_animated", False):
            yield None, _clearest(image, limits)
        else:
            image.draft("RGB", (2 * LONGEST, 2 * LONGEST))  # a JPEG is decoded at a fraction of its size
            yield None, to_picture(image)


@contextmanager
def _reading() -> Iterator[None]:
    """Pillow's many ways to say that a file is broken, as one."""
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise LimitExceeded(f"the image is a decompression bomb: {error}", hint="publish a smaller one") from error
    # What its decoders raise on hostile bytes; each was seen in its changelog or its fuzzing corpus.
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        IndexError,
        KeyError,
        TypeError,
        OverflowError,
        ZeroDivisionError,
    ) as error:
        raise InvalidMedia(f"the image cannot be decoded: {error}", hint="check the file; it may be cut") from error


def _check_size(image: Image.Image, limits: Limits) -> None:
    width, height = image.size
    if width * height > limits.max_pixels:
        raise LimitExceeded(
            f"the image has {width}×{height} pixels, more than {limits.max_pixels}",
            hint="publish a smaller one, or raise SENSORIUM_LIMITS__MAX_PIXELS",
        )


def _tiff_pages(image: Image.Image, limits: Limits) -> Iterator[tuple[int, Picture]]:
    count = getattr(image, "n_frames", 1)
    if count > limits.max_pages:
        raise LimitExceeded(
            f"the image has {count} pages, more than {limits.max_pages}",
            hint="split it, or raise SENSORIUM_LIMITS__MAX_PAGES",
        )
    for number in range(count):
        image.seek(number)
        _check_size(image, limits)
        yield number + 1, to_picture(image)


def _clearest(image: Image.Image, limits: Limits) -> Picture:
    """The frame with the most detail among the first ones: animations often begin with an empty one."""
    budget = max(1, _ANIMATION_PIXELS * limits.max_pixels // max(1, image.width * image.height))
    best, detail = None, -1.0
    for number, frame in enumerate(ImageSequence.Iterator(image)):
        if number >= min(budget, limits.max_frames):
            break
        picture = to_picture(frame)
        spread = float(picture[::2, ::2].std())
        if spread > detail:
            best, detail = picture, spread
    if best is None:
        raise InvalidMedia("the animation has no frame", hint="check the file")
    return best


def to_picture(image: Image.Image) -> Picture:
    """Upright RGB pixels over white, at most ``LONGEST`` a side."""
    upright = ImageOps.exif_transpose(_eight_bit(image))
    upright.thumbnail((LONGEST, LONGEST))
    if upright.has_transparency_data:
        clear = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
    return np.asarray(upright.convert("RGB"), dtype=np.uint8)


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scans of 16 or 32 bits a pixel, stretched to 8: Pillow would cut them off at 255."""
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image, dtype=np.float64)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(high - low):
        raise InvalidMedia("the image holds numbers that are no brightness", hint="save it with 8 bits a channel")
    return Image.fromarray(((values - low) * (255.0 / max(high - low, 1e-9))).astype(np.uint8))
