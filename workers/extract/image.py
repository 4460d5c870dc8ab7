"""Images: pixels in, one picture chunk a page and the passages that OCR reads in it.

In: JPEG, PNG, GIF, WebP, BMP or TIFF. Out: drafts of modality image; a TIFF of several pages gives them page by page,
an animation its most detailed frame. Raises ``InvalidMedia`` (broken), ``LimitExceeded`` (pixels, pages).
"""

from __future__ import annotations

import warnings
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageSequence

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
_STRIP_PIXELS = 1_000_000
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each orientation that EXIF knows."""

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
    """Upright RGB pixels over white, at most ``LONGEST`` a side. No second copy is made of a large picture."""
    image.load()
    turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    small = _reduced(_eight_bit(image))
    upright = small if turn is None else small.transpose(turn)
    if upright.has_transparency_data:
        clear = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
    return np.asarray(upright.convert("RGB"), dtype=np.uint8)


def _reduced(image: Image.Image) -> Image.Image:
    """``image``, or one of the same shape with ``LONGEST`` pixels at its longer side."""
    scale = LONGEST / max(image.size)
    if scale >= 1:
        return image
    if image.has_transparency_data and scale <= 0.5:
        image = _thinned(image, int(1 / scale))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)


def _thinned(image: Image.Image, factor: int) -> Image.Image:
    """Every ``factor`` × ``factor`` pixels as one. In strips: Pillow weighs colours by their alpha in a copy of all."""
    rows = factor * max(1, _STRIP_PIXELS // (factor * image.width))
    thin = Image.new("RGBA", (-(-image.width // factor), -(-image.height // factor)))
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        thin.paste(strip.convert("RGBA").reduce(factor), (0, top // factor))
    return thin


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scans of 16 or 32 bits a pixel, stretched to 8: Pillow would cut them off at 255."""
    if not image.mode.startswith(("I", "F")):
        return image
    extremes = [(float(strip.min()), float(strip.max())) for _, strip in _strips(image)]
    low, high = min(low for low, _ in extremes), max(high for _, high in extremes)
    if not np.isfinite(high - low):
        raise InvalidMedia("the image holds numbers that are no brightness", hint="save it with 8 bits a channel")
    grey = np.empty((image.height, image.width), dtype=np.uint8)
    for top, strip in _strips(image):
        grey[top : top + len(strip)] = (strip - low) * (255.0 / max(high - low, 1e-9))
    return Image.fromarray(grey)


def _strips(image: Image.Image) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """The rows of ``image``, some at a time, with the number of the first: as a whole they take 8 bytes a pixel."""
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        box = (0, top, image.width, min(top + rows, image.height))
        yield top, np.asarray(image.crop(box), dtype=np.float64)
