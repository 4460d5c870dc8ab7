"""One page of a PDF: its text line by line with boxes, its pictures, its rendering.

All functions expect the caller to hold ``PDFIUM``: the library keeps global state and is not safe to use from several
threads, not even for different documents.
"""

from __future__ import annotations

import ctypes
import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import pypdfium2 as pdfium
from numpy.typing import NDArray
from PIL import Image
from pypdfium2 import raw

from schemas.chunks import Box
from workers.errors import InvalidMedia
from workers.extract.image import LONGEST, to_picture
from workers.models.base import Picture

PDFIUM = threading.Lock()

_UNITS = 1_000_000
"""Steps of a page's side that PDFium computes boxes in."""
_DPI = 170
_HYPHEN = "\x02"
"""PDFium's mark for a hyphen that parts a word at a line's end; the line end itself is left out."""
_LINE_ENDS = "\r\n" + _HYPHEN
_PARAGRAPH_GAP = 0.75
"""White space between two lines, over their height, from which a paragraph begins."""
_MIN_PICTURE_SIDE = 64
_MIN_PICTURE_AREA = 0.01
_MAX_PICTURES = 20


@dataclass(frozen=True, slots=True)
class Line:
    """A printed line. ``start``/``end`` are places in the page's text."""

    start: int
    end: int
    box: Box


@dataclass(frozen=True, slots=True)
class PageText:
    """The words of a page: lines joined by spaces, paragraphs by blank lines, parted words made whole."""

    text: str
    lines: tuple[Line, ...]


@dataclass(slots=True)
class _Row:
    """A line while it is read; sides are in PDF units, and y grows upwards."""

    text: str = ""
    left: float = math.inf
    bottom: float = math.inf
    right: float = -math.inf
    top: float = -math.inf

    def add(self, character: str, box: tuple[float, float, float, float]) -> None:
        self.text += character
        if not character.isspace():
            self.left, self.bottom = min(self.left, box[0]), min(self.bottom, box[1])
            self.right, self.top = max(self.right, box[2]), max(self.top, box[3])

    def whole(self) -> Iterator[_Row]:
        """This row without white space around it; nothing, if that is all there is."""
        self.text = self.text.strip()
        if self.text.strip(_HYPHEN) and self.left <= self.right:
            yield self


def read_text(page: pdfium.PdfPage) -> PageText:
    """The text of ``page`` in the order of its content, with the box of each line."""
    text = ""
    lines: list[Line] = []
    above: _Row | None = None
    for row in _rows(page):
        text += _gap(above, row)
        start = len(text)
        text += row.text.removesuffix(_HYPHEN)
        lines.append(Line(start, len(text), _box(page, row)))
        above = row
    return PageText(text, tuple(lines))


def _gap(above: _Row | None, row: _Row) -> str:
    """What stands between two lines: nothing in a word that is carried over, a blank line between paragraphs."""
    if above is None:
        return ""
    height = max(above.top - above.bottom, row.top - row.bottom)
    if above.bottom - row.top > _PARAGRAPH_GAP * height or row.bottom > above.top:
        return "\n\n"
    return "" if above.text.endswith(_HYPHEN) else " "


def _rows(page: pdfium.PdfPage) -> Iterator[_Row]:
    """The lines that PDFium sees, without white space around them."""
    textpage = page.get_textpage()
    try:
        row = _Row()
        for character, box in _characters(textpage):
            if character not in "\r\n":
                row.add(character, box)
            if character in _LINE_ENDS:
                yield from row.whole()
                row = _Row()
        yield from row.whole()
    finally:
        textpage.close()


def _characters(textpage: pdfium.PdfTextPage) -> Iterator[tuple[str, tuple[float, float, float, float]]]:
    """Each character with its box; halves of surrogate pairs are put together, unmapped glyphs left out."""
    left, right, bottom, top = (ctypes.c_double() for _ in range(4))
    high = 0
    for index in range(textpage.count_chars()):
        code = raw.FPDFText_GetUnicode(textpage, index)
        if 0xD800 <= code < 0xDC00:
            high = code
            continue
        if 0xDC00 <= code < 0xE000:
            code = 0x10000 + ((high - 0xD800) << 10) + (code - 0xDC00) if high else 0
        high = 0
        if code in (0, 0xFFFE, 0xFFFF):
            continue
        raw.FPDFText_GetCharBox(textpage, index, left, right, bottom, top)
        yield chr(code), (left.value, bottom.value, right.value, top.value)


def _box(page: pdfium.PdfPage, row: _Row) -> Box:
    """The row's place on the page as it is shown: cropped, turned, from the top left, in 0–1 units."""
    return page_box(page, (row.left, row.bottom, row.right, row.top))


def page_box(page: pdfium.PdfPage, sides: tuple[float, float, float, float]) -> Box:
    """``(left, bottom, right, top)`` in PDF units as a box in 0–1 units of the page as it is shown."""
    x, y = ctypes.c_int(), ctypes.c_int()
    corners = []
    for across, up in ((sides[0], sides[1]), (sides[2], sides[3])):
        raw.FPDF_PageToDevice(page, 0, 0, _UNITS, _UNITS, 0, across, up, x, y)
        corners.append((min(max(x.value / _UNITS, 0.0), 1.0), min(max(y.value / _UNITS, 0.0), 1.0)))
    (x0, y0), (x1, y1) = corners
    return (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))


def render(page: pdfium.PdfPage) -> Picture:
    """The page as it is shown, at 170 dpi, at most ``LONGEST`` pixels a side, however large it claims to be."""
    longest = max(page.get_size())
    if not 0 < longest < math.inf:
        raise InvalidMedia("a page of the PDF has no size", hint="print it to a new PDF")
    return _copied(page.render(scale=min(_DPI / 72, LONGEST / longest), rev_byteorder=True))


def _copied(bitmap: pdfium.PdfBitmap) -> Picture:
    """The bitmap's pixels, after which its memory is freed here, under the lock, and not whenever it is collected."""
    bitmap.warn_on_close = False
    try:
        if max(bitmap.width, bitmap.height) > LONGEST:
            return _reduced(bitmap)
        return to_picture(bitmap.to_pil())
    finally:
        bitmap.close()


def _reduced(bitmap: pdfium.PdfBitmap) -> Picture:
    """A large bitmap's pixels, reduced where they lie: they are not held twice."""
    scale = LONGEST / max(bitmap.width, bitmap.height)
    size = (max(1, round(bitmap.width * scale)), max(1, round(bitmap.height * scale)))
    small = cv2.resize(bitmap.to_numpy(), size, interpolation=cv2.INTER_AREA)
    return to_picture(Image.fromarray(_rgb(small, bitmap.mode)))


def _rgb(pixels: NDArray[np.uint8], mode: str) -> NDArray[np.uint8]:
    """Grey, RGB or RGBA, as Pillow orders them; ``mode`` is PDFium's."""
    if mode.startswith("BGR"):
        pixels = pixels[:, :, [2, 1, 0, *range(3, pixels.shape[2])]]
    return np.ascontiguousarray(pixels[:, :, :3] if mode.endswith("X") else pixels)


def pictures(page: pdfium.PdfPage, max_pixels: int) -> Iterator[tuple[Box, Picture]]:
    """The pictures that stand on the page and are large enough to show something, with their places."""
    count = 0
    for item in page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=3):
        if item.level > 0:
            continue  # its bounds are those of the form that it is part of, not of the page
        box = page_box(page, item.get_bounds())
        width, height = item.get_px_size()
        area = (box[2] - box[0]) * (box[3] - box[1])
        if min(width, height) < _MIN_PICTURE_SIDE or width * height > max_pixels or area < _MIN_PICTURE_AREA:
            continue
        picture = _pixels(item)
        if picture is not None:
            yield box, picture
            count += 1
        if count == _MAX_PICTURES:
            return


def _pixels(item: pdfium.PdfImage) -> Picture | None:
    try:
        return _copied(item.get_bitmap(render=False))
    except pdfium.PdfiumError:
        return None  # a filter that PDFium cannot undo; the page's rendering leaves it out as well


def shows_something(picture: Picture) -> bool:
    """Whether a rendered page is more than blank paper."""
    return float(np.asarray(Image.fromarray(picture).convert("L"))[::3, ::3].std()) > 1.0
