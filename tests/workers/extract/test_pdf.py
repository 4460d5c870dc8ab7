"""PDF: text with boxes, pictures, and scanned pages."""

from __future__ import annotations

import pytest

from schemas.chunks import Channel, OcrLine
from schemas.media import Modality
from tests.media import PdfPage, Printed, page_picture, pdf, photo
from tests.workers.extract.fakes import FakeModels, drafts
from workers.errors import InvalidMedia, LimitExceeded
from workers.extract.draft import Draft, Source
from workers.extract.pdf import read_pdf
from workers.limits import Limits

LINES = [OcrLine(text="Scanned words of the page", box=(0.1, 0.2, 0.5, 0.3), score=0.95)]


async def _read(pages: list[PdfPage], models: FakeModels | None = None, limits: Limits | None = None) -> list[Draft]:
    source = Source(pdf(pages), "application/pdf", "paper.pdf")
    return await drafts(read_pdf(source, models or FakeModels(), limits or Limits()))


async def test_text_has_its_page_its_box_and_its_lines() -> None:
    first = PdfPage([
        Printed("The tide turns at noon and the har-", y=700),
        Printed("bour empties quickly.", y=685),
        Printed("A new paragraph stands further below.", y=600),
    ])  # fmt: skip
    one, two = await _read([first, PdfPage([Printed("The second page says something else.")])])
    assert one.text == (
        "The tide turns at noon and the harbour empties quickly.\n\nA new paragraph stands further below."
    )
    assert (one.page, one.start_char, one.end_char, one.title) == (1, 0, len(one.text), "paper.pdf")
    assert (two.page, two.start_char) == (2, len(one.text) + 1)
    assert one.box is not None
    x0, y0, x1, y1 = one.box
    assert x0 == pytest.approx(72 / 612, abs=0.01)
    assert y0 == pytest.approx(1 - 710 / 792, abs=0.01)
    assert x0 < x1 < 0.6
    assert y1 == pytest.approx(1 - 600 / 792, abs=0.01)
    lines = one.features.ocr
    assert [one.text[line.start_char : line.end_char] for line in lines] == [line.text for line in lines]
    assert [line.text for line in lines][:2] == ["The tide turns at noon and the har", "bour empties quickly."]
    assert lines[0].box[3] < lines[1].box[3] < lines[2].box[3]


async def test_a_turned_page_has_boxes_as_it_is_shown() -> None:
    (only,) = await _read([PdfPage([Printed("Words that were printed sideways.")], rotate=90)])
    assert only.box is not None
    assert only.box[3] - only.box[1] > only.box[2] - only.box[0]


async def test_pictures_on_a_page_have_their_place_and_are_told_once() -> None:
    words = [Printed("A page with words enough to be text, and a picture.")]
    logo = photo(300, 300)
    found = await _read([PdfPage(words, logo, (306, 396, 153, 198)), PdfPage(words, logo, (306, 396, 153, 198))])
    pictures = [draft for draft in found if draft.channel is Channel.PICTURE]
    assert len(pictures) == 1
    assert pictures[0].box == pytest.approx((0.5, 0.25, 0.75, 0.5), abs=0.01)
    assert (pictures[0].modality, pictures[0].page) == (Modality.IMAGE, 1)
    assert len([draft for draft in found if draft.channel is Channel.TEXT]) == 2


async def test_a_scanned_page_is_read_by_ocr() -> None:
    scan = PdfPage([Printed("7", y=20)], page_picture(["Scanned words"], 850, 1100), (0, 0, 612, 792))
    shows, says = await _read([scan], FakeModels(LINES))
    assert (shows.channel, shows.page) == (Channel.PICTURE, 1)
    assert (says.channel, says.modality, says.page) == (Channel.TEXT, Modality.IMAGE, 1)
    assert says.text == "Scanned words of the page"
    assert says.box == (0.1, 0.2, 0.5, 0.3)
    assert says.clip is not None


async def test_little_text_is_kept_where_ocr_is_off() -> None:
    scan = PdfPage([Printed("Page seven", y=20)], page_picture(["x"], 850, 1100), (0, 0, 612, 792))
    found = await _read([scan], FakeModels(ocr=False))
    assert [draft.text for draft in found if draft.channel is Channel.TEXT] == ["Page seven"]


async def test_blank_pages_give_nothing() -> None:
    assert await _read([PdfPage(), PdfPage()]) == []


async def test_a_huge_page_is_rendered_within_bounds() -> None:
    sheet = PdfPage([Printed("x", size=900)], size=(14_400, 14_400))
    shows, says = await _read([sheet])
    assert shows.channel is Channel.PICTURE
    assert says.text == "x"


async def test_bounds() -> None:
    pages = [PdfPage([Printed("Words and more words on it.")])] * 3
    with pytest.raises(LimitExceeded, match="3 pages"):
        await _read(pages, limits=Limits(max_pages=2))
    with pytest.raises(LimitExceeded, match="characters"):
        await _read(pages, limits=Limits(max_text_chars=20))
    with pytest.raises(LimitExceeded, match="characters"):
        await _read(pages, limits=Limits(max_ratio=0.01))
    with pytest.raises(InvalidMedia, match="no pages"):
        await _read([])
