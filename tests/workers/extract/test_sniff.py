"""What bytes are, against what they are said to be."""

from __future__ import annotations

import time

import pytest
from PIL import Image
from structlog.testing import capture_logs

from tests.media import SAMPLES, PdfPage, Printed, image, pdf, photo, sound, tone, video
from workers.errors import InvalidMedia
from workers.extract.containers import settled
from workers.extract.html import main_text
from workers.extract.sniff import parse_content_type, sniff

PICTURE = photo(64, 64)
SHOT = [(photo(64, 64), 0.5)]

MADE = [
    ("image/png", image(PICTURE)),
    ("image/jpeg", image(PICTURE, "JPEG")),
    ("image/gif", image(PICTURE, "GIF")),
    ("image/webp", image(PICTURE, "WEBP")),
    ("image/bmp", image(PICTURE, "BMP")),
    ("image/tiff", image(PICTURE, "TIFF")),
    ("application/pdf", pdf([PdfPage([Printed("Hello")])])),
    ("audio/wav", sound(tone(0.5))),
    ("audio/flac", sound(tone(0.5), "flac", "flac")),
    ("audio/mpeg", sound(tone(0.5), "mp3", "libmp3lame")),
    ("audio/ogg", sound(tone(0.5), "ogg", "libopus")),
    ("audio/aac", sound(tone(0.5), "adts", "aac")),
    ("audio/aiff", sound(tone(0.5), "aiff", "pcm_s16be")),
    ("video/mp4", video(SHOT)),
    ("video/quicktime", video(SHOT, container="mov")),
    ("video/x-matroska", video(SHOT, container="matroska")),
    ("video/webm", video(SHOT, container="webm", codec="libvpx")),
    ("video/x-msvideo", video(SHOT, container="avi")),
    ("video/mp2t", video(SHOT, container="mpegts", codec="mpeg2video", fps=25)),
]

NAMED = {".md": "text/markdown", ".jpg": "image/jpeg", ".png": "image/png", ".mp4": "video/mp4"} | {
    ".ogg": "audio/ogg",
    ".flac": "audio/flac",
    ".wav": "audio/wav",
}


@pytest.mark.parametrize(("content_type", "data"), MADE, ids=[kind for kind, _ in MADE])
def test_every_accepted_format_is_known_without_a_declaration(content_type: str, data: bytes) -> None:
    assert sniff(data) == content_type


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="no samples in this checkout")
def test_the_samples_are_what_their_names_say() -> None:
    files = [path for path in SAMPLES.rglob("*") if path.suffix in NAMED]
    assert len(files) >= 5
    for path in files:
        assert sniff(path.read_bytes(), "", path.name) == NAMED[path.suffix], path


def test_certain_bytes_win_over_the_declaration_and_it_is_logged() -> None:
    with capture_logs() as logs:
        assert sniff(image(PICTURE), "text/plain", "x.txt") == "image/png"
    assert logs[0]["event"] == "mislabelled media"
    assert logs[0]["declared"] == "text/plain"


def test_aliases_are_no_mislabelling() -> None:
    with capture_logs() as logs:
        assert sniff(sound(tone(0.2)), "audio/x-wav") == "audio/wav"
        assert sniff(video(SHOT), "audio/mp4") == "video/mp4"
    assert logs == []


@pytest.mark.parametrize(
    ("text", "declared", "name", "expected"),
    [
        ("Just words.", "", "", "text/plain"),
        ("Just words.", "text/markdown; charset=utf-8", "", "text/markdown"),
        ("# Heading\n\n- item", "", "", "text/markdown"),
        ("# a comment\n# another", "", "", "text/plain"),
        ("# Heading", "", "notes.md", "text/markdown"),
        ("# Heading\n\n- item", "", "setup.cfg", "text/plain"),
        ("<!DOCTYPE html><p>Hi", "text/plain", "", "text/html"),
        ("<p>Hi", "", "page.html", "text/html"),
        ("<p>Hi", "text/html", "", "text/html"),
        ('{"a": 1}', "application/json", "", "text/plain"),
        ("print('hi')", "text/x-python", "hi.py", "text/plain"),
    ],
)
def test_kinds_of_text(text: str, declared: str, name: str, expected: str) -> None:
    assert sniff(text.encode(), declared, name) == expected


def test_a_refusal_names_what_it_is_and_what_to_do() -> None:
    with pytest.raises(InvalidMedia, match="ZIP archive") as caught:
        sniff(b"PK\x03\x04" + bytes(30), "application/zip")
    assert "PDF" in caught.value.hint


def test_hostile_text_is_sniffed_at_once() -> None:
    began = time.perf_counter()
    for piece in ("<!---->", "\n", " ", "<!--", "|-", "[", "# \n \n", "<?xml?>"):
        sniff((piece * 50_000 + "x").encode())
        main_text("<p>x" + (piece * 50_000 + "x").replace("#", "<p>\u2003") + "\u2003" * 100_000)
    assert time.perf_counter() - began < 10


def test_parse_content_type() -> None:
    assert parse_content_type("Text/Plain; Charset=ISO-8859-1") == ("text/plain", "iso-8859-1")
    assert parse_content_type("") == ("application/octet-stream", "")


def test_a_container_of_only_sound_is_audio() -> None:
    assert settled(sound(tone(0.5), "mp4", "aac"), "video/mp4") == "audio/mp4"
    assert settled(sound(tone(0.5), "webm", "libopus"), "video/webm") == "audio/webm"
    assert settled(video(SHOT), "video/mp4") == "video/mp4"


def test_a_still_picture_in_an_mp4_box_is_refused_with_a_hint() -> None:
    avif = image(Image.new("RGB", (8, 8)), "AVIF")
    with pytest.raises(InvalidMedia, match="AVIF") as caught:
        sniff(avif)
    assert "JPEG" in caught.value.hint
