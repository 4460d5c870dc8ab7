"""What files begin with: the formats that are read, and those that are refused by name.

Written down rather than taken from a library, because a refusal must be certain: a polyglot that is *also* an archive
must not pass for a picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Signature:
    """``magic`` at ``offset``, and ``also`` where that is not enough."""

    name: str
    magic: bytes
    offset: int = 0
    also: Callable[[bytes], bool] | None = None

    def fits(self, data: bytes) -> bool:
        """Whether ``data`` begins like this."""
        return data.startswith(self.magic, self.offset) and (self.also is None or self.also(data))


def _form(kind: bytes) -> Callable[[bytes], bool]:
    return lambda data: data[8 : 8 + len(kind)] == kind


def _brand(*brands: bytes) -> Callable[[bytes], bool]:
    return lambda data: data[8:12] in brands


def _is_layer3(data: bytes) -> bool:
    """An MPEG audio frame header: sync, layer I to III, a real bit rate and sample rate."""
    return data[1] & 0xE0 == 0xE0 and data[1] & 0x06 != 0 and data[2] & 0xF0 != 0xF0 and data[2] & 0x0C != 0x0C


def _is_adts(data: bytes) -> bool:
    """An AAC frame header: sync, layer 0, a real sample rate."""
    return data[1] & 0xF6 == 0xF0 and (data[2] >> 2) & 0x0F <= 12


def _is_transport(data: bytes) -> bool:
    """The sync byte stands at the head of the first packets."""
    return len(data) >= 376 and data[188] == 0x47


def _is_ebml(kind: bytes) -> Callable[[bytes], bool]:
    return lambda data: kind in data[:64]


def _is_ogg(*codecs: bytes) -> Callable[[bytes], bool]:
    return lambda data: any(codec in data[:512] for codec in codecs)


ACCEPTED: tuple[Signature, ...] = (
    Signature("application/pdf", b"%PDF-"),
    Signature("image/jpeg", b"\xff\xd8\xff"),
    Signature("image/png", b"\x89PNG\r\n\x1a\n"),
    Signature("image/gif", b"GIF87a"),
    Signature("image/gif", b"GIF89a"),
    Signature("image/webp", b"RIFF", also=_form(b"WEBP")),
    Signature("image/bmp", b"BM", also=lambda data: data[6:10] == b"\0\0\0\0" and data[14:15] in b"\x0c\x28\x6c\x7c"),
    Signature("image/tiff", b"II*\0"),
    Signature("image/tiff", b"MM\0*"),
    Signature("audio/wav", b"RIFF", also=_form(b"WAVE")),
    Signature("audio/flac", b"fLaC"),
    Signature("audio/aiff", b"FORM", also=_form(b"AIF")),
    Signature("audio/mpeg", b"ID3"),
    Signature("audio/aac", b"\xff", also=lambda data: len(data) > 6 and _is_adts(data)),
    Signature("audio/mpeg", b"\xff", also=lambda data: len(data) > 3 and _is_layer3(data)),
    Signature("video/ogg", b"OggS", also=_is_ogg(b"\x80theora", b"OVP80")),
    Signature("audio/ogg", b"OggS", also=_is_ogg(b"vorbis", b"OpusHead", b"FLAC", b"Speex")),
    Signature("audio/mp4", b"ftyp", 4, _brand(b"M4A ", b"M4B ")),
    Signature("video/quicktime", b"ftyp", 4, _brand(b"qt  ")),
    Signature("video/quicktime", b"moov", 4),
    Signature("video/webm", b"\x1aE\xdf\xa3", also=_is_ebml(b"webm")),
    Signature("video/x-matroska", b"\x1aE\xdf\xa3", also=_is_ebml(b"matroska")),
    Signature("video/x-msvideo", b"RIFF", also=_form(b"AVI ")),
    Signature("video/mp2t", b"G", also=_is_transport),
    Signature("video/mpeg", b"\0\0\x01\xba"),
)
"""By content type. MP4 stands in ``sniff``: it is what ``ftyp`` says and no still picture is."""

STILL_BRANDS = {b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis", b"hevc", b"crx "}
"""Pictures in an MP4 box: their decoders are not carried."""

REFUSED: tuple[Signature, ...] = (
    Signature("an old Microsoft Office document", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
    Signature("a ZIP archive or an office document", b"PK\x03\x04"),
    Signature("an empty ZIP archive", b"PK\x05\x06"),
    Signature("a gzip archive", b"\x1f\x8b"),
    Signature("a bzip2 archive", b"BZh"),
    Signature("an xz archive", b"\xfd7zXZ\0"),
    Signature("a Zstandard archive", b"\x28\xb5\x2f\xfd"),
    Signature("a 7-Zip archive", b"7z\xbc\xaf\x27\x1c"),
    Signature("a RAR archive", b"Rar!\x1a\x07"),
    Signature("a tar archive", b"ustar", 257),
    Signature("a Linux executable", b"\x7fELF"),
    Signature("a Windows executable", b"MZ", also=lambda data: len(data) >= 64 and b"PE\0\0" in data[:4096]),
    Signature("a macOS executable", b"\xcf\xfa\xed\xfe"),
    Signature("a macOS executable", b"\xce\xfa\xed\xfe"),
    Signature("a Java class or a macOS executable", b"\xca\xfe\xba\xbe"),
    Signature("a WebAssembly module", b"\0asm"),
    Signature("a PostScript program", b"%!PS"),
    Signature("an RTF document", b"{\\rtf"),
    Signature("a Windows Media file", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),
    Signature("a Flash video", b"FLV\x01"),
    Signature("a Photoshop document", b"8BPS"),
    Signature("an icon", b"\0\0\x01\0"),
    Signature("a SQLite database", b"SQLite format 3\0"),
    Signature("a Parquet file", b"PAR1"),
    Signature("a Python pickle", b"\x80\x04\x95"),
    Signature("an HDF5 file", b"\x89HDF\r\n\x1a\n"),
)

REFUSED_TEXT: tuple[tuple[str, str], ...] = (
    ("a playlist (HLS or M3U)", "#EXTM3U"),
    ("an ffconcat script", "ffconcat version"),
    ("a playlist (PLS)", "[playlist]"),
    ("a DASH manifest", "<MPD"),
    ("an SVG drawing", "<svg"),
    ("a session description (SDP)", "v=0\r\no="),
    ("a session description (SDP)", "v=0\no="),
    ("a playlist (ASX)", "<asx"),
    ("a playlist (SMIL)", "<smil"),
    ("a Git LFS pointer", "version https://git-lfs.github.com"),
)
"""What text that is a program for a player or a renderer begins with, after white space and XML's prologue."""
