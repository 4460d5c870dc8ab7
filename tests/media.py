"""Small real media, made in the test: PDFs, pictures, sounds and videos in every container that is read."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

SAMPLES = Path(__file__).parent.parent / "samples"
RATE = 16_000


@dataclass(frozen=True)
class Printed:
    """Words on a PDF page; ``x``/``y`` in points from the bottom left."""

    text: str
    x: float = 72
    y: float = 700
    size: float = 12


@dataclass(frozen=True)
class PdfPage:
    """A page: words, and a picture with its place ``(x, y, width, height)`` in points."""

    words: Sequence[Printed] = ()
    picture: Image.Image | None = None
    place: tuple[float, float, float, float] = (72, 300, 200, 200)
    rotate: int = 0
    size: tuple[float, float] = (612, 792)
    extra: str = field(default="")


def pdf(pages: Sequence[PdfPage]) -> bytes:
    """A PDF with Helvetica text and JPEG pictures."""
    objects: list[bytes] = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    kids = []
    for page in pages:
        content = "".join(
            f"BT /F1 {word.size} Tf {word.x} {word.y} Td ({_escaped(word.text)}) Tj ET\n" for word in page.words
        )
        resources = "/Font << /F1 3 0 R >>"
        if page.picture is not None:
            objects.append(_jpeg_object(page.picture))
            resources += f" /XObject << /Im0 {len(objects)} 0 R >>"
            x, y, width, height = page.place
            content += f"q {width} 0 0 {height} {x} {y} cm /Im0 Do Q\n"
        stream = (content + page.extra).encode("latin-1")
        objects.append(b"<< /Length %d >>\nstream\n" % len(stream) + stream + b"\nendstream")
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {page.size[0]} {page.size[1]}] /Rotate {page.rotate} "
            f"/Resources << {resources} >> /Contents {len(objects)} 0 R >>".encode()
        )
        kids.append(f"{len(objects)} 0 R")
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>".encode()
    return _assembled(objects)


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")


def _jpeg_object(picture: Image.Image) -> bytes:
    data = image(picture, "JPEG")
    head = (
        f"<< /Type /XObject /Subtype /Image /Width {picture.width} /Height {picture.height} /ColorSpace /DeviceRGB "
        f"/BitsPerComponent 8 /Filter /DCTDecode /Length {len(data)} >>\nstream\n"
    )
    return head.encode() + data + b"\nendstream"


def _assembled(objects: Sequence[bytes], trailer: bytes = b"") -> bytes:
    out = bytearray(b"%PDF-1.7\n")
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n" % number + body + b"\nendobj\n"
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer\n<< /Size %d /Root 1 0 R %s>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, trailer, start)
    return bytes(out)


def encrypted_pdf() -> bytes:
    """A PDF that needs a password: its standard security handler names keys that the empty password does not open."""
    whole = pdf([PdfPage([Printed("Secret words that nobody reads.")])])
    key = "<" + "41" * 32 + ">"
    encrypt = f"/Encrypt << /Filter /Standard /V 1 /R 2 /O {key} /U {key} /P -4 >> /ID [<{'42' * 16}> <{'42' * 16}>] "
    return whole.replace(b"/Root 1 0 R ", b"/Root 1 0 R " + encrypt.encode(), 1)


def image(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """A picture as a file."""
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def photo(width: int = 400, height: int = 320, seed: int = 0) -> Image.Image:
    """Coloured shapes, different with each seed."""
    random = np.random.default_rng(seed)
    picture = Image.new("RGB", (width, height), tuple(int(value) for value in random.integers(0, 255, 3)))
    draw = ImageDraw.Draw(picture)
    for _ in range(12):
        x, y = int(random.integers(0, width)), int(random.integers(0, height))
        side = int(random.integers(10, max(11, width // 3)))
        draw.ellipse((x, y, x + side, y + side), fill=tuple(int(value) for value in random.integers(0, 255, 3)))
    return picture


def page_picture(lines: Sequence[str], width: int = 900, height: int = 400) -> Image.Image:
    """A page of print, as a scanner would give it."""
    picture = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        draw.text((40, 40 + 44 * number), line, fill="black", font=ImageFont.load_default(28))
    return picture


def tone(seconds: float, *, hertz: float = 440.0, loudness: float = 0.3, rate: int = RATE) -> NDArray[np.float32]:
    """A sine wave; loudness 0 is silence."""
    times = np.arange(int(seconds * rate)) / rate
    return (loudness * np.sin(2 * np.pi * hertz * times)).astype(np.float32)


def sound(wave: NDArray[np.float32], container: str = "wav", codec: str = "pcm_s16le", rate: int = RATE) -> bytes:
    """A sound file of mono samples."""
    out = io.BytesIO()
    with av.open(out, "w", format=container) as file:
        stream = cast(av.AudioStream, file.add_stream(codec, rate=rate))
        stream.layout = "mono"
        _add_sound(file, stream, wave, rate)
    return out.getvalue()


def _add_sound(
    file: av.container.OutputContainer, stream: av.AudioStream, wave: NDArray[np.float32], rate: int
) -> None:
    step = 1024
    for start in range(0, len(wave), step):
        frame = av.AudioFrame.from_ndarray(wave[None, start : start + step], format="fltp", layout="mono")
        frame.sample_rate = rate
        frame.pts = start
        frame.time_base = Fraction(1, rate)
        file.mux(stream.encode(frame))
    file.mux(stream.encode(None))


def video(
    shots: Sequence[tuple[Image.Image, float]],
    *,
    wave: NDArray[np.float32] | None = None,
    container: str = "mp4",
    codec: str = "mpeg4",
    sound_codec: str = "aac",
    fps: int = 10,
    options: dict[str, str] | None = None,
) -> bytes:
    """A video that shows each picture for its seconds, with a sound track if ``wave`` is given."""
    # A file on disk: moving the index to the front ("faststart") opens it a second time, by its name.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video"
        with av.open(str(path), "w", format=container, options=options or {}) as file:
            pictures = cast(av.VideoStream, file.add_stream(codec, rate=fps))
            track = None
            if wave is not None:
                track = cast(av.AudioStream, file.add_stream(sound_codec, rate=RATE))
                track.layout = "mono"
            _add_pictures(file, pictures, shots, fps)
            if wave is not None and track is not None:
                _add_sound(file, track, wave, RATE)
        return path.read_bytes()


def _add_pictures(
    file: av.container.OutputContainer,
    stream: av.VideoStream,
    shots: Sequence[tuple[Image.Image, float]],
    fps: int,
) -> None:
    stream.width, stream.height = shots[0][0].size
    stream.pix_fmt = "yuv420p"
    stream.bit_rate = 2_000_000
    for picture, seconds in shots:
        pixels = np.asarray(picture.convert("RGB"))
        for _ in range(round(seconds * fps)):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
    file.mux(stream.encode(None))
