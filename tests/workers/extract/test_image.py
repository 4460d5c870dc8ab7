"""Images: pixels, tiles, labels, and what OCR reads, with its boxes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from schemas.chunks import Channel, Label, OcrLine, Region
from schemas.media import Modality
from tests.media import image, page_picture, photo
from tests.workers.extract.fakes import FakeModels, drafts
from workers.errors import InvalidMedia, LimitExceeded
from workers.extract.draft import Draft, Source
from workers.extract.image import LONGEST, pages, read_image
from workers.extract.ocr import believable, may_hold_text, read_passages
from workers.extract.picture import WHOLE, merged, within
from workers.limits import Limits
from workers.models.base import Picture


def _line(text: str, *box: float, score: float = 0.95) -> OcrLine:
    return OcrLine.model_validate({"text": text, "box": box, "score": score})


async def _read(data: bytes, models: FakeModels | None = None) -> list[Draft]:
    return await drafts(read_image(Source(data, "image/any", "x.png"), models or FakeModels(), Limits()))


def _picture(data: bytes, limits: Limits | None = None) -> Picture:
    (found,) = pages(data, limits or Limits())
    return found[1]


async def test_a_photo_is_one_picture_chunk_with_regions_and_a_clip() -> None:
    half = Image.new("RGB", (400, 400), "red")
    ImageDraw.Draw(half).rectangle((0, 200, 399, 399), fill="blue")
    (only,) = await _read(image(half))
    assert (only.channel, only.modality, only.box) == (Channel.PICTURE, Modality.IMAGE, WHOLE)
    assert len(only.features.regions) == 6
    lower = next(region for region in only.features.regions if region.box == (0.0, 0.45, 0.55, 1.0))
    assert lower.labels[0].name == "blue"
    assert {label.name for label in only.features.labels} == {"red", "green", "blue"}
    assert "red" in only.text
    assert only.clip is not None
    assert only.clip.data.startswith(b"\xff\xd8")


async def test_a_small_picture_has_no_tiles() -> None:
    (only,) = await _read(image(photo(200, 200)))
    assert [region.box for region in only.features.regions] == [WHOLE]


def test_labels_of_tiles_count_for_less() -> None:
    whole = Region(box=WHOLE, labels=(Label(name="sea", score=0.5),))
    tile = Region(box=(0, 0, 0.5, 0.5), labels=(Label(name="ship", score=0.8), Label(name="sea", score=0.9)))
    assert merged((whole, tile)) == (Label(name="sea", score=0.5), Label(name="ship", score=0.4))


async def test_what_is_written_becomes_passages_with_boxes_and_places() -> None:
    lines = [_line("Harbour rules", 0.1, 0.1, 0.5, 0.15), _line("Fires are forbidden", 0.1, 0.16, 0.6, 0.21)]
    shows, says = await _read(image(page_picture(["x"])), FakeModels(lines))
    assert says.text == "Harbour rules\nFires are forbidden"
    assert (says.channel, says.modality) == (Channel.TEXT, Modality.IMAGE)
    assert says.box == (0.1, 0.1, 0.6, 0.21)
    assert [says.text[line.start_char : line.end_char] for line in says.features.ocr] == [line.text for line in lines]
    assert says.clip is shows.clip


async def test_no_ocr_where_it_is_off_or_nothing_can_be_read() -> None:
    lines = [_line("Harbour rules", 0.1, 0.1, 0.5, 0.15)]
    assert len(await _read(image(page_picture(["x"])), FakeModels(lines, ocr=False))) == 1
    assert len(await _read(image(Image.new("RGB", (300, 300), "white")), FakeModels(lines))) == 1
    assert len(await _read(image(photo(30, 30)), FakeModels(lines))) == 1


def test_may_hold_text() -> None:
    assert may_hold_text(np.asarray(page_picture(["Some words"])))
    assert not may_hold_text(np.full((300, 300, 3), 200, dtype=np.uint8))


def test_noise_is_not_believed() -> None:
    heard = [
        ("0", 0.99),
        ("AAA", 0.95),
        ("0000", 0.99),
        ("NE", 0.6),
        ("600", 0.77),
        ("STOP", 0.6),
        ("blurred words", 0.5),
    ]
    assert believable([_line(text, 0, 0, 1, 1, score=score) for text, score in heard]) == []
    kept = [
        _line("30 km", 0, 0, 1, 1, score=0.85),
        _line("NO", 0, 0, 1, 1, score=0.97),
        _line("YAMAHA", 0, 0, 1, 1, score=0.7),
    ]
    assert believable(kept) == kept


def test_columns_are_not_mixed() -> None:
    rows = [_line(f"{side} line {n} of a column", x, 0.1 + n * 0.05, x + 0.4, 0.14 + n * 0.05)
            for n in range(6) for side, x in (("left", 0.05), ("right", 0.55))]  # fmt: skip
    first, second = read_passages(rows)
    assert "right" not in first.text
    assert "left" not in second.text
    assert first.box[2] < 0.5 < second.box[0]


def test_words_of_a_row_and_of_a_poster_are_joined() -> None:
    row = [_line("Open", 0.1, 0.1, 0.2, 0.15), _line("daily", 0.22, 0.1, 0.33, 0.15)]
    assert [passage.text for passage in read_passages(row)] == ["Open daily"]
    poster = [_line("GRAND", 0.1, 0.1, 0.9, 0.3), _line("sale", 0.4, 0.6, 0.6, 0.65)]
    assert [passage.text for passage in read_passages(poster)] == ["GRAND\nsale"]


def test_long_print_is_cut_into_passages() -> None:
    lines = [
        _line(f"line {n} with some more words that fill it up", 0.1, n / 100, 0.9, (n + 0.8) / 100) for n in range(90)
    ]
    found = read_passages(lines)
    assert len(found) > 3
    assert sum(len(passage.lines) for passage in found) == 90


def test_boxes_of_a_region_are_moved_into_the_page() -> None:
    assert within((0.5, 0.0, 1.0, 0.5), (0.2, 0.4, 0.6, 0.8)) == (0.4, 0.4, 0.6, 0.6)
    assert within((-1.0, 0.0, 2.0, 0.5), WHOLE) == (0.0, 0.0, 1.0, 0.5)


def test_the_camera_is_turned_back() -> None:
    wide = Image.new("RGB", (80, 40), "red")
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    assert _picture(image(wide, "JPEG", exif=exif)).shape == (80, 40, 3)


def test_transparency_is_white_and_sixteen_bits_are_stretched() -> None:
    clear = Image.new("RGBA", (50, 50), (255, 0, 0, 0))
    assert _picture(image(clear)).min() == 255
    deep = Image.fromarray(np.linspace(0, 65535, 2500).astype(np.uint16).reshape(50, 50))
    grey = _picture(image(deep))
    assert (grey.min(), grey.max()) == (0, 255)
    assert abs(float(grey.mean()) - 127) < 3


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "RGB", "RGBA"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    data = image(photo(60, 50).convert(mode), "TIFF" if mode == "CMYK" else "PNG")
    assert _picture(data).shape == (50, 60, 3)


def test_large_pictures_are_reduced() -> None:
    assert max(_picture(image(Image.new("RGB", (5000, 1000)), "JPEG")).shape) == LONGEST


async def test_a_tiff_of_several_pages_is_read_page_by_page() -> None:
    sheets = [photo(100, 100, seed=seed) for seed in range(3)]
    data = image(sheets[0], "TIFF", save_all=True, append_images=sheets[1:])
    assert [draft.page for draft in await _read(data)] == [1, 2, 3]
    with pytest.raises(LimitExceeded, match="pages"):
        list(pages(data, Limits(max_pages=2)))


def test_an_animation_gives_its_most_detailed_frame() -> None:
    frames = [Image.new("RGB", (60, 60), "white"), photo(60, 60), Image.new("RGB", (60, 60), "black")]
    data = image(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert _picture(data).std() > 10
    assert _picture(data, Limits(max_frames=1)).std() == 0


def test_bounds() -> None:
    with pytest.raises(LimitExceeded, match="pixels") as caught:
        _picture(image(photo(100, 100)), Limits(max_pixels=9999))
    assert "MAX_PIXELS" in caught.value.hint
    with pytest.raises(InvalidMedia):
        _picture(b"\x89PNG\r\n\x1a\nnothing")
