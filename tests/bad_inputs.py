"""Bad input, kind by kind: what hostile, broken or mistaken publishers send, and what is to come of it.

``bad_media()`` are bytes; ``bad_claims(store)`` are claim checks. ``error`` names the class that the extract stage must
refuse with; ``None`` means that the document is odd, but is read within bounds. The same list serves the stage's own
tests and the end-to-end tests, which see the class's name in the dead letter.
"""

from __future__ import annotations

import hashlib
import io
import random
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from schemas.media import BlobRef
from tests.media import PdfPage, Printed, encrypted_pdf, image, pdf, photo, sound, tone, video
from workers.errors import ForbiddenUri, InvalidEvent, InvalidMedia, LimitExceeded
from workers.store.blobs import BlobStore


@dataclass(frozen=True)
class BadInput:
    """One kind of bad input. Exactly one of ``data`` and ``blob`` is set."""

    name: str
    data: bytes | None
    content_type: str
    error: type[InvalidEvent] | None
    blob: BlobRef | None = None


def bad_media() -> list[BadInput]:
    """Media that is refused, or is odd; all fit into one message."""
    return [*_broken_pictures(), *_broken_sound(), *_broken_papers(), *_hostile_text(), *_other_formats(), *_odd()]


def _broken_pictures() -> list[BadInput]:
    png = image(photo())
    return [
        BadInput("truncated png", png[: len(png) // 2], "image/png", InvalidMedia),
        BadInput("png with a flipped byte", _flipped(png), "image/png", InvalidMedia),
        BadInput("truncated jpeg", image(photo(), "JPEG")[:900], "image/jpeg", InvalidMedia),
        BadInput("truncated webp", image(photo(), "WEBP")[:600], "image/webp", InvalidMedia),
        BadInput("truncated gif", image(photo(), "GIF")[:300], "image/gif", InvalidMedia),
        BadInput("png bomb", _png(12_000, 12_000), "image/png", LimitExceeded),
        BadInput("png of huge declared size", _png(200_000, 200_000, rows=1), "image/png", LimitExceeded),
        BadInput("bmp of huge declared size", _bmp(100_000, 100_000), "image/bmp", LimitExceeded),
        BadInput("tiff whose directory points to itself", _looping_tiff(), "image/tiff", InvalidMedia),
        BadInput("tiff with a directory beyond its end", b"II*\0\xff\xff\xff\x7f", "image/tiff", InvalidMedia),
        BadInput("jpeg of only a header", b"\xff\xd8\xff\xe0\0\x10JFIF\0", "image/jpeg", InvalidMedia),
    ]


def _broken_sound() -> list[BadInput]:
    shots = [(photo(320, 240, seed=seed), 1.0) for seed in range(4)]
    wave = tone(4)
    mp4 = video(shots, wave=wave)
    fast = video(shots, wave=wave, options={"movflags": "faststart"})
    mkv = video(shots, wave=wave, container="matroska")
    wav = sound(tone(3))
    return [
        BadInput("mp4 without its index", mp4[: len(mp4) // 2], "video/mp4", InvalidMedia),
        BadInput("mp4 that ends early", fast[: len(fast) // 2], "video/mp4", InvalidMedia),
        BadInput("matroska that ends early", mkv[: len(mkv) // 2], "video/x-matroska", InvalidMedia),
        BadInput("wav that ends early", wav[: len(wav) // 2], "audio/wav", InvalidMedia),
        BadInput("flac that ends early", sound(tone(5), "flac", "flac")[:15_000], "audio/flac", InvalidMedia),
        BadInput("wav without a sample", sound(np.zeros(0, np.float32)), "audio/wav", InvalidMedia),
        BadInput("wav of 65535 channels", wav[:22] + b"\xff\xff" + wav[24:], "audio/wav", InvalidMedia),
        BadInput("mp3 of only a tag", b"ID3\x04\0\0\0\0\0\x0a" + bytes(10), "audio/mpeg", InvalidMedia),
        BadInput("ogg of only a header", b"OggS\0\x02" + bytes(20) + b"\x01\x1e\x01vorbis", "audio/ogg", InvalidMedia),
        BadInput("mp4 of only a header", b"\0\0\0\x18ftypisom\0\0\0\0isommp42", "video/mp4", InvalidMedia),
    ]


def _broken_papers() -> list[BadInput]:
    whole = pdf([PdfPage([Printed("A page that is fine, as such, with words on it.")])])
    many = pdf([PdfPage([Printed(f"Page {number}")]) for number in range(501)])
    return [
        BadInput("truncated pdf", whole[:200], "application/pdf", InvalidMedia),
        BadInput("pdf of only a header", b"%PDF-1.7\n", "application/pdf", InvalidMedia),
        BadInput("pdf without pages", pdf([]), "application/pdf", InvalidMedia),
        BadInput("encrypted pdf", encrypted_pdf(), "application/pdf", InvalidMedia),
        BadInput("pdf of 501 pages", many, "application/pdf", LimitExceeded),
    ]


def _hostile_text() -> list[BadInput]:
    noise = random.Random(7).randbytes(5000)
    attributes = "<p " + " ".join(f"a{number}=1" for number in range(60_000)) + ">x</p>"
    return [
        BadInput("nothing at all", b"", "text/plain", InvalidMedia),
        BadInput("text with NULs", b"plain\0text\0with\0holes", "text/plain", InvalidMedia),
        BadInput("noise called text", noise, "text/plain", InvalidMedia),
        BadInput("noise without a type", noise, "", InvalidMedia),
        BadInput("noise called a picture", noise, "image/png", InvalidMedia),
        BadInput("half of a UTF-16 character", b"\xff\xfeh\0i\0!", "text/plain", InvalidMedia),
        BadInput("text in no known encoding", bytes(range(0x80, 0x100)) * 20, "text/plain", InvalidMedia),
        BadInput("text of 4,100,000 characters", b"Too long. " * 410_000, "text/plain", LimitExceeded),
        BadInput("html nested 100,000 deep", b"<html><body>" + b"<div>" * 100_000 + b"x", "text/html", InvalidMedia),
        BadInput("html with 60,000 attributes", attributes.encode(), "text/html", InvalidMedia),
        BadInput(
            "svg with a script", b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>", "", InvalidMedia
        ),
        BadInput("svg called png", b"<?xml version='1.0'?>\n<svg/>", "image/png", InvalidMedia),
        BadInput("playlist", b"#EXTM3U\n#EXTINF:9,\nfile:///etc/passwd\n", "application/x-mpegurl", InvalidMedia),
        BadInput("playlist called video", b"#EXTM3U\n#EXTINF:9,\nfile:///etc/passwd\n", "video/mp4", InvalidMedia),
        BadInput("ffconcat script", b"ffconcat version 1.0\nfile '/etc/passwd'\n", "video/mp4", InvalidMedia),
        BadInput("DASH manifest", b"<?xml version='1.0'?><MPD/>", "application/dash+xml", InvalidMedia),
        BadInput("text called picture", b"This is not a picture.", "image/png", InvalidMedia),
        BadInput("text called video", b"This is not a video either.", "video/mp4", InvalidMedia),
    ]


def _other_formats() -> list[BadInput]:
    office = _zip({"[Content_Types].xml": b"<Types/>", "word/document.xml": b"<w:document/>"})
    return [
        BadInput("zip archive", _zip({"a.txt": b"hello"}), "application/zip", InvalidMedia),
        BadInput("zip bomb called text", _zip({"zeros": bytes(5_000_000)}), "text/plain", InvalidMedia),
        BadInput("office document", office, "application/octet-stream", InvalidMedia),
        BadInput("gzip archive", b"\x1f\x8b\x08\0\0\0\0\0", "application/gzip", InvalidMedia),
        BadInput("windows executable", b"MZ" + bytes(62) + b"PE\0\0" + bytes(200), "", InvalidMedia),
        BadInput("linux executable called mp3", b"\x7fELF\x02\x01\x01" + bytes(200), "audio/mpeg", InvalidMedia),
        BadInput("heic picture", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "image/heic", InvalidMedia),
        BadInput("rtf document", b"{\\rtf1 Hello}", "text/rtf", InvalidMedia),
        BadInput("pickle", b"\x80\x04\x95\x0a\0\0\0\0\0\0\0]\x94.", "", InvalidMedia),
    ]


def _odd() -> list[BadInput]:
    frames = [photo(64, 64, seed=seed) for seed in range(200)]
    gif = image(frames[0], "GIF", save_all=True, append_images=frames[1:])
    return [
        BadInput("gif of 200 frames", gif, "image/gif", None),
        BadInput("png called text", image(photo(80, 80)), "text/plain", None),
        BadInput("jpeg called video", image(photo(80, 80), "JPEG"), "video/mp4", None),
        BadInput("picture of one pixel", image(Image.new("RGB", (1, 1))), "image/png", None),
        BadInput("text of only white space", b" \n\t\n ", "text/plain", None),
        BadInput("a type that is none", b"Words are words.", "this is; not=a type", None),
        BadInput("silence", sound(tone(2, loudness=0)), "audio/wav", None),
    ]


def bad_claims(store: BlobStore, outside: Path) -> list[BadInput]:
    """Claim checks that lie; ``outside`` is a file that no root of ``store`` holds."""
    good = store.put(b"A short text that is quite all right.", "text/plain")
    folder, _, name = good.uri.rpartition("/")
    secret = outside.read_bytes()
    claims: Sequence[tuple[str, BlobRef, type[InvalidEvent]]] = [
        ("claim with a wrong hash", good.model_copy(update={"sha256": "0" * 64}), InvalidMedia),
        ("claim with a wrong size", good.model_copy(update={"size": good.size + 1}), InvalidMedia),
        ("claim of nothing", good.model_copy(update={"uri": f"{folder}/{'f' * 64}"}), InvalidMedia),
        ("claim of a folder", good.model_copy(update={"uri": folder}), InvalidMedia),
        ("claim beyond the limit", good.model_copy(update={"size": 10**12}), LimitExceeded),
        ("claim outside the roots", _claim(outside.as_uri(), secret), ForbiddenUri),
        ("claim by a bare path outside", _claim(str(outside), secret), ForbiddenUri),
        ("claim by dots", _claim(f"{folder}/../../../../../../../..{outside}", secret), ForbiddenUri),
        ("claim by escaped dots", _claim(f"{folder}/%2e%2e/%2e%2e/%2e%2e/%2e%2e{outside}", secret), ForbiddenUri),
        ("claim by network", _claim("http://127.0.0.1:9/secret.txt", secret), ForbiddenUri),
        ("claim by a chained protocol", _claim(f"simplecache::{outside.as_uri()}", secret), ForbiddenUri),
    ]
    assert name  # the URI of a blob ends with its name, so that ``folder`` is one
    return [BadInput(kind, None, "text/plain", error, blob) for kind, blob, error in claims]


def _claim(uri: str, data: bytes) -> BlobRef:
    return BlobRef(uri=uri, sha256=hashlib.sha256(data).hexdigest(), size=len(data), content_type="text/plain")


def _flipped(png: bytes) -> bytes:
    middle = len(png) // 2
    return png[:middle] + bytes([png[middle] ^ 0xFF]) + png[middle + 1 :]


def _png(width: int, height: int, rows: int | None = None) -> bytes:
    """Black, one bit a pixel; ``rows`` of it are really there."""
    row = bytes(1 + (width + 7) // 8)
    packer = zlib.compressobj(9)
    pixels = b"".join(packer.compress(row) for _ in range(rows or height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def _bmp(width: int, height: int) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 16, 0, 0, 54) + info + bytes(16)


def _looping_tiff() -> bytes:
    """A directory of one tag, which says that the next directory is the same again."""
    tag = struct.pack("<HHII", 0x0100, 4, 1, 64)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 1) + tag + struct.pack("<I", 8)


def _zip(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()
