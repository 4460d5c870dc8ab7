"""PDF: pages in, passages with page and box, pictures, and scanned pages read by OCR out.

In: ``application/pdf``. Out: drafts page by page: passages (modality text), pictures on the page and, for pages without
text of their own, the page itself (modality image). ``start_char``/``end_char`` count characters of the pages' texts,
joined by form feeds. ``features.ocr`` of a passage holds its printed lines with their boxes, at score 1. Raises
``InvalidMedia`` (broken, encrypted), ``LimitExceeded`` (pages, characters).
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass

import pypdfium2 as pdfium
import structlog
from pypdfium2 import raw

from schemas.chunks import Box, Channel, Features, OcrLine
from schemas.media import Modality
from workers.errors import InvalidMedia, LimitExceeded
from workers.extract.draft import Draft, Recognisers, Source
from workers.extract.ocr import union
from workers.extract.passages import Passage, paragraphs, passages
from workers.extract.pdf_page import PDFIUM, Line, PageText, pictures, read_text, render, shows_something
from workers.extract.picture import picture_drafts, see
from workers.extract.threads import in_thread
from workers.limits import Limits
from workers.models.base import Picture
from workers.sandbox.held import Data, head_of

_SCAN_CHARS = 25
"""A page with fewer letters than this is looked at as a picture: page numbers and stamps are no text layer."""
_WHOLE_PAGE = 0.85
_PAGE_END = "\f"
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Page:
    """What was taken from a page under the lock; ``scan`` is set where the page is to be read as a picture."""

    number: int
    text: PageText
    passages: tuple[Passage, ...]
    pictures: tuple[tuple[Box, Picture], ...] = ()
    scan: Picture | None = None


async def read_pdf(source: Source, models: Recognisers, limits: Limits) -> AsyncGenerator[Draft, None]:
    """The drafts of a PDF, page by page."""
    offset = 0
    async with aclosing(source.decoding.each(pages, limits)) as found:
        async for page in found:
            is_read = False
            async for draft in _picture_drafts(page, source.name, models):
                is_read = is_read or draft.channel is Channel.TEXT
                yield draft
            if page.scan is None or not is_read:  # what little text a scan has is in what OCR read, too
                for draft in _text_drafts(page, offset, source.name):
                    yield draft
            offset += len(page.text.text) + len(_PAGE_END)


def _text_drafts(page: _Page, offset: int, title: str) -> Iterator[Draft]:
    text = page.text.text
    for passage in page.passages:
        lines = [line for line in page.text.lines if line.start < passage.end and line.end > passage.start]
        yield Draft(
            place=f"page:{page.number}:text:{passage.start}-{passage.end}",
            modality=Modality.TEXT,
            channel=Channel.TEXT,
            text=text[passage.start : passage.end],
            title=title,
            start_char=offset + passage.start,
            end_char=offset + passage.end,
            page=page.number,
            box=union([line.box for line in lines]),
            features=Features(ocr=tuple(_placed(line, text, passage.start, passage.end) for line in lines)),
        )


def _placed(line: Line, text: str, start: int, end: int) -> OcrLine:
    """The part of a printed line that stands in the passage ``[start, end)``."""
    first, last = max(line.start, start), min(line.end, end)
    return OcrLine(text=text[first:last], box=line.box, score=1.0, start_char=first - start, end_char=last - start)


async def _picture_drafts(page: _Page, title: str, models: Recognisers) -> AsyncGenerator[Draft, None]:
    found: list[tuple[str, Box | None, Picture]] = [
        (f"page:{page.number}:picture:{number}", box, picture) for number, (box, picture) in enumerate(page.pictures)
    ]
    if page.scan is not None:
        found = [(f"page:{page.number}", None, page.scan)]
    for place, box, picture in found:
        seen = await see(picture, models)
        like = Draft(
            place=place, modality=Modality.IMAGE, channel=Channel.PICTURE, title=title, page=page.number, box=box
        )
        for draft in await in_thread(picture_drafts, seen, picture, like):
            yield draft


def pages(data: Data, limits: Limits) -> Iterator[_Page]:
    """The pages, one at a time; the lock is held while PDFium works, and never while the caller does."""
    with PDFIUM:
        document = _open(data)
    try:
        count = len(document)
        if count > limits.max_pages:
            raise LimitExceeded(
                f"the PDF has {count} pages, more than {limits.max_pages}",
                hint="split it, or raise SENSORIUM_LIMITS__MAX_PAGES",
            )
        yield from _each(document, data, limits)
    finally:
        with PDFIUM:
            document.close()


def _open(data: Data) -> pdfium.PdfDocument:
    try:
        return pdfium.PdfDocument(data if isinstance(data, bytes) else data.file())
    except pdfium.PdfiumError as error:
        # PDFium may report the error of the document before, hence the second look.
        if error.err_code == raw.FPDF_ERR_PASSWORD and b"/Encrypt" in head_of(data, len(data)):
            raise InvalidMedia("the PDF is encrypted", hint="remove its password, then publish it again") from error
        raise InvalidMedia("the PDF is broken or has no pages", hint="check the file; it may be cut") from error


def _each(document: pdfium.PdfDocument, data: Data, limits: Limits) -> Iterator[_Page]:
    allowed = min(limits.max_text_chars, int(limits.max_ratio * len(data)))
    chars = failed = 0
    seen: set[bytes] = set()
    for number in range(1, len(document) + 1):
        try:
            with PDFIUM:
                page = _read_page(document, number, limits, seen)
        except pdfium.PdfiumError as error:
            failed += 1
            _log.warning("page cannot be read", page=number, error=str(error))
            continue
        chars += len(page.text.text)
        if chars > allowed:
            raise LimitExceeded(
                f"the PDF's {len(data)} bytes hold more than {allowed} characters",
                hint="split it, or raise SENSORIUM_LIMITS__MAX_RATIO or SENSORIUM_LIMITS__MAX_TEXT_CHARS",
            )
        yield page
    if failed == len(document):
        raise InvalidMedia("no page of the PDF can be read", hint="check the file; it may be cut")


def _read_page(document: pdfium.PdfDocument, number: int, limits: Limits, seen: set[bytes]) -> _Page:
    page = document[number - 1]
    try:
        text = read_text(page)
        found = tuple(passages(text.text, paragraphs(text.text), limits.passage_tokens))
        if sum(character.isalnum() for character in text.text) < _SCAN_CHARS:
            picture = render(page)
            if shows_something(picture):
                return _Page(number, text, found, scan=picture)
            return _Page(number, text, found)
        return _Page(number, text, found, tuple(_new_pictures(page, limits, seen)))
    finally:
        page.close()


def _new_pictures(page: pdfium.PdfPage, limits: Limits, seen: set[bytes]) -> Iterator[tuple[Box, Picture]]:
    """Pictures of the page that stood on none before it (a logo stands on all), and are not its background."""
    for box, picture in pictures(page, limits.max_pixels):
        digest = hashlib.sha256(picture.tobytes()).digest()
        is_background = (box[2] - box[0]) * (box[3] - box[1]) > _WHOLE_PAGE
        if digest not in seen and not is_background:
            seen.add(digest)
            yield box, picture
