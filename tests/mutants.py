"""Documents that are broken on purpose, the same ones each time: every accepted format, changed in every way.

``originals()`` are good documents, one a format; ``mutants(name, count)`` are events that carry what became of one of
them. The kinds of change take turns, so that few mutants hold some of each.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

from schemas.media import MediaReceived
from tests.media import PdfPage, Printed, image, page_picture, pdf, photo, sound, tone, video

_MAX_BYTES = 8 * 1024 * 1024
_EXTREMES = (b"\0", b"\xff", b"\x7f", b"\x80")


@dataclass(frozen=True)
class Mutant:
    """``kind`` is what was done to the document."""

    kind: str
    event: MediaReceived


@cache
def originals() -> dict[str, bytes]:
    """By content type; ``kind/name variant`` for another codec in the same container."""
    picture, wave = photo(200, 160), tone(1.5)
    scenes = [(photo(96, 64, seed=seed), 0.6) for seed in (1, 2)]
    frames = [photo(48, 48, seed=seed) for seed in range(4)]
    return {
        "text/plain": ("A plain text. It has sentences, é and 😀.\n\nAnd a paragraph more.\n" * 8).encode(),
        "text/markdown": _MARKDOWN.encode(),
        "text/html": _HTML.encode(),
        "application/pdf": pdf([
            PdfPage([Printed("A page of print with words that can be read.")], picture),
            PdfPage([], page_picture(["A scan"], 400, 300), (0, 0, 612, 792)),
        ]),
        "image/jpeg": image(picture, "JPEG"),
        "image/jpeg progressive": image(picture, "JPEG", progressive=True),
        "image/png": image(picture),
        "image/gif": image(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "image/webp": image(picture, "WEBP"),
        "image/webp animated": image(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
        "image/bmp": image(photo(80, 60), "BMP"),
        "image/tiff": image(frames[0], "TIFF", save_all=True, append_images=frames[1:], compression="tiff_lzw"),
        "audio/wav": sound(wave),
        "audio/flac": sound(wave, "flac", "flac"),
        "audio/mpeg": sound(wave, "mp3", "libmp3lame"),
        "audio/aac": sound(wave, "adts", "aac"),
        "audio/aiff": sound(wave, "aiff", "pcm_s16be"),
        "audio/ogg": sound(wave, "ogg", "libopus"),
        "audio/mp4": sound(wave, "ipod", "aac"),
        "audio/webm": sound(wave, "webm", "libopus"),
        "video/mp4": video(scenes, wave=wave, codec="libx264"),
        "video/mp4 mpeg4": video(scenes, wave=wave, options={"movflags": "faststart"}),
        "video/quicktime": video(scenes, wave=wave, container="mov"),
        "video/webm": video(scenes, wave=wave, container="webm", codec="libvpx", sound_codec="libopus"),
        "video/x-matroska": video(scenes, wave=wave, container="matroska", codec="libx264"),
        "video/x-msvideo": video(scenes, wave=wave, container="avi", sound_codec="mp3"),
        "video/mp2t": video(scenes, wave=wave, container="mpegts", codec="mpeg2video", fps=25),
        "video/mpeg": video(scenes, wave=wave, container="mpeg", codec="mpeg2video", sound_codec="mp2", fps=25),
        "video/ogg": video(scenes, wave=wave, container="ogg", codec="libvpx", sound_codec="libopus"),
    }  # fmt: skip


def mutants(name: str, count: int) -> Iterator[Mutant]:
    """``count`` events with what became of the original of that name."""
    data = originals()[name]
    content_type = name.partition(" ")[0]
    for number in range(count):
        chance = random.Random(f"{name} {number}")
        kind, change = _CHANGES[number % len(_CHANGES)]
        event = MediaReceived(
            document_id=f"{name} {number} {kind}",
            version=1,
            event_time_ms=0,
            content_type=chance.choice((content_type, "", "application/octet-stream")),
            source_uri=f"file:///mutants/{number}",
            data=change(data, chance)[:_MAX_BYTES],
        )
        yield Mutant(kind, _named(event, chance) if kind == "long names" else event)


def _few_bits(data: bytes, chance: random.Random) -> bytes:
    return _flipped(data, chance, chance.randint(1, 8), len(data))


def _header_bits(data: bytes, chance: random.Random) -> bytes:
    return _flipped(data, chance, chance.randint(1, 6), 128)


def _many_bits(data: bytes, chance: random.Random) -> bytes:
    return data[:64] + _flipped(data[64:], chance, max(1, len(data) // chance.choice((50, 500))), len(data))


def _flipped(data: bytes, chance: random.Random, count: int, within: int) -> bytes:
    out = bytearray(data)
    for _ in range(count):
        place = chance.randrange(min(len(out), within))
        out[place] ^= 1 << chance.randrange(8)
    return bytes(out)


def _cut_off(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def _swapped_header(data: bytes, chance: random.Random) -> bytes:
    """The beginning of another format, or this beginning on another format's body."""
    other = chance.choice(list(originals().values()))
    length = chance.choice((4, 16, 64, 256))
    return other[:length] + data[length:] if chance.random() < 0.5 else data[:length] + other[length:]


def _extreme_numbers(data: bytes, chance: random.Random) -> bytes:
    """Sizes, counts and offsets at the ends of what they may be."""
    out = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        width = chance.choice((2, 4, 8))
        place = chance.randrange(min(len(out), chance.choice((64, 512, len(out)))))
        value = chance.choice(_EXTREMES) + chance.choice(_EXTREMES) * (width - 1)
        out[place : place + width] = value if chance.random() < 0.5 else value[::-1]
    return bytes(out)


def _spliced(data: bytes, chance: random.Random) -> bytes:
    """Stretches of it moved, doubled, left out, or replaced by noise."""
    a, b = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    noise = chance.randbytes(chance.randint(0, 300))
    return chance.choice((
        data[:a] + data[b:],
        data[:b] + data[a:],
        data[:a] + noise + data[b:],
        data[:a] + data[b:] + data[a:b],
        data[:a] + bytes(b - a) + data[b:],
    ))  # fmt: skip


def _bomb(data: bytes, chance: random.Random) -> bytes:
    """A part of it again and again: boxes in boxes, tags in tags, packets without end."""
    a = chance.randrange(len(data))
    b = min(len(data), a + chance.choice((1, 4, 8, 32, 188, 512, 4096)))
    times = chance.choice((100, 3_000, 60_000))
    return data[:a] + data[a:b] * min(times, _MAX_BYTES // (2 * (b - a))) + data[b:]


def _untouched(data: bytes, chance: random.Random) -> bytes:
    return data


def _named(event: MediaReceived, chance: random.Random) -> MediaReceived:
    """Names that are long, or are no names."""
    long = "n" * chance.choice((1_000, 70_000))
    odd = ("http://[", "../" * 500, "file:///" + "%00" * 300, "a\u202e.gpj", "\n\r\0", "x://\u2100/y", "\\\\host\\c$")
    uri = chance.choice((*odd, f"https://example.org/{long}.png", long))
    content_type = chance.choice((event.content_type, f"{event.content_type}; charset={long}", f"text/{long}", long))
    name = chance.choice((event.document_id, f"{event.document_id} {long}"))
    return event.model_copy(update={"source_uri": uri, "content_type": content_type, "document_id": name})


_CHANGES: tuple[tuple[str, Callable[[bytes, random.Random], bytes]], ...] = (
    ("few bits flipped", _few_bits),
    ("header bits flipped", _header_bits),
    ("cut off", _cut_off),
    ("header swapped", _swapped_header),
    ("extreme numbers", _extreme_numbers),
    ("bomb", _bomb),
    ("long names", _untouched),
    ("spliced", _spliced),
    ("many bits flipped", _many_bits),
)

_MARKDOWN = """# Tides

The tide *turns* at noon. [A link](https://example.org "x") and `code`.

| place | height |
|-------|--------|
| Brest | 7.1 m  |

> A quotation.
> - a list in it

```python
print("hello")
```

1. one
2. two
"""
_HTML = """<!DOCTYPE html><html lang="en"><head><title>Tides</title><meta charset="utf-8"><script>alert(1)</script>
</head>
<body><nav><a href="/">Home</a></nav><article><h1>Tides</h1><p>The tide turns at noon, and the harbour empties.</p>
<table><tr><td>Brest</td><td>7.1&nbsp;m</td></tr></table><ul><li>one</li><li>two &amp; three</li></ul>
<p style="display:none">hidden</p><!-- a comment --><p>A paragraph that ends the page &eacute;.</p></article>
</body></html>
"""
