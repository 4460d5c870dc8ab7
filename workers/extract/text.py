"""Text documents: plain text, Markdown and HTML into passages with their places.

In: bytes of ``text/plain``, ``text/markdown`` or ``text/html``. Out: passages, each with the heading path (or the
file's name) as title; ``start_char``/``end_char`` count characters of the document's text, which is the decoded file,
or for HTML its main text as Markdown. Raises ``InvalidMedia`` (not text, no known encoding), ``LimitExceeded``.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import AsyncGenerator, Iterable

from schemas.chunks import Channel
from schemas.media import Modality
from workers.errors import InvalidMedia, LimitExceeded
from workers.extract.draft import Draft, Recognisers, Source
from workers.extract.html import main_text
from workers.extract.markdown import markdown_blocks
from workers.extract.passages import Block, Passage, paragraphs, passages
from workers.limits import Limits

_BOMS = (  # the longer ones first: UTF-32's little-endian mark begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CONTROL = re.compile(r"[\x01-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_HALVES = re.compile(r"[\ud800-\udfff]")
_META_CHARSET = re.compile(rb"""<meta[^>]{0,200}charset=["']?\s*([A-Za-z0-9_.:-]{2,40})""", re.IGNORECASE)
_HINT = "save it as UTF-8, or name its encoding: content-type: text/plain; charset=..."


async def read_text(source: Source, models: Recognisers, limits: Limits) -> AsyncGenerator[Draft, None]:
    """The passages of a text document, in order."""
    text, found = await source.decoding.call(read_passages, source.content_type, source.name, source.charset, limits)
    for passage in found:
        yield Draft(
            place=f"text:{passage.start}-{passage.end}",
            modality=Modality.TEXT,
            channel=Channel.TEXT,
            text=text[passage.start : passage.end],
            title=passage.title,
            start_char=passage.start,
            end_char=passage.end,
        )


def read_passages(data: bytes, content_type: str, name: str, charset: str, limits: Limits) -> tuple[str, list[Passage]]:
    """The document's text, and the passages in it."""
    if content_type == "text/html":
        page = decode(data, charset or _meta_charset(data))
        _check_length(page, limits)
        title, text = main_text(page)
        blocks: Iterable[Block] = markdown_blocks(text, title or name)
    else:
        text = decode(data, charset)
        _check_length(text, limits)
        is_markdown = content_type == "text/markdown"
        blocks = (markdown_blocks if is_markdown else paragraphs)(text, name)
    found = list(passages(text, blocks, limits.passage_tokens))
    if len(found) > limits.max_chunks:
        raise LimitExceeded(
            f"the text makes {len(found)} passages, more than {limits.max_chunks}",
            hint="split the document, or raise limits.max_chunks",
        )
    return text, found


def _check_length(text: str, limits: Limits) -> None:
    if len(text) > limits.max_text_chars:
        raise LimitExceeded(
            f"the text has {len(text)} characters, more than {limits.max_text_chars}",
            hint="split the document, or raise limits.max_text_chars",
        )


def _meta_charset(data: bytes) -> str:
    found = _META_CHARSET.search(data[:4096])
    return found.group(1).decode("ascii") if found else ""


def decode(data: bytes, charset: str = "") -> str:
    """The text of ``data``, without byte order mark; line ends stay as they are, so that places in it are exact.

    A byte order mark decides, then UTF-8, then ``charset``, then Windows-1252, if what it gives looks written.
    Raises ``InvalidMedia`` for NULs, control characters and bytes that are no text in any of these.
    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return _checked(_decoded(data[len(mark) :], encoding))
    if charset and _is_known(charset) and codecs.lookup(charset).name not in {"utf-8", "ascii"}:
        return _checked(_decoded(data, charset))
    try:
        return _checked(data.decode("utf-8"))
    except UnicodeDecodeError:
        return _checked(_western(data))


def _decoded(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise InvalidMedia(f"the text is not valid {encoding} at byte {error.start}", hint=_HINT) from error
    except UnicodeError as error:  # of rarer codecs, which do not tell the place
        raise InvalidMedia(f"the text is not valid {encoding}: {error}", hint=_HINT) from error


def _is_known(charset: str) -> bool:
    try:
        return codecs.lookup(charset)._is_text_encoding  # "base64" and "zip" are codecs, too
    except LookupError:
        return False


def _western(data: bytes) -> str:
    """Windows-1252, only where most of it is ASCII: any bytes at all would decode as Latin-1."""
    beyond = sum(1 for byte in data if byte >= 0x80)
    if beyond > 0.3 * len(data):
        raise InvalidMedia("the text is neither UTF-8 nor of a declared encoding", hint=_HINT)
    return _decoded(data, "cp1252")


def _checked(text: str) -> str:
    if _HALVES.search(text):
        raise InvalidMedia("the text holds halves of characters (surrogates)", hint=_HINT)
    if "\0" in text:
        raise InvalidMedia("the text holds NUL characters: this is not a text file", hint=_HINT)
    if len(_CONTROL.findall(text)) > 0.01 * len(text):
        raise InvalidMedia("the text is full of control characters: this is not a text file", hint=_HINT)
    return text
