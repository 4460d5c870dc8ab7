"""What a document really is: its content type from its bytes, checked against the declared one.

In: bytes, the declared content type, a file name. Out: a content type that a reader takes. Raises ``InvalidMedia`` for
what is empty, not accepted (named, with a hint), or is not what it claims to be.
"""

from __future__ import annotations

import re
from email.message import Message

import puremagic
import structlog

from workers.errors import InvalidMedia
from workers.extract.signatures import ACCEPTED, REFUSED, REFUSED_TEXT, STILL_BRANDS
from workers.extract.text import decode

_ACCEPTED = "text, Markdown, HTML, PDF, JPEG, PNG, GIF, WebP, BMP, TIFF, WAV, MP3, FLAC, AAC, Ogg, MP4, WebM, Matroska"

_UNSAID = {"", "application/octet-stream", "binary/octet-stream", "application/x-download", "*/*"}
_TEXT_LIKE = re.compile(
    r"text/|application/(?:json|x-ndjson|xml|xhtml\+xml|yaml|toml|x-yaml|javascript)$|.*\+(?:json|xml)$"
)
_MARKDOWN_NAME = re.compile(r"\.(?:md|markdown|mdown|mkd)$", re.IGNORECASE)
_HTML_NAME = re.compile(r"\.x?html?$", re.IGNORECASE)
_MARKDOWN_SIGNS = (
    re.compile(r"(?:\A|\n[ \t]*\n)#{1,6} \S"),
    re.compile(r"^```", re.MULTILINE),
    re.compile(r"^\|?[ \t]*:?-{2,}:?[ \t]*\|", re.MULTILINE),
    re.compile(r"\[[^\]\n]{1,200}\]\((?:https?:|\.|/|#)[^)\s]*\)"),
    re.compile(r"^[-*] \S", re.MULTILINE),
)
_COMMENT = r"<!--(?:(?!-->).)*-->"  # one way to match only, or hostile pages take for ever
_PROLOGUE = re.compile(rf"\s*(?:<\?xml[^>]*\?>\s*|{_COMMENT}\s*|<!DOCTYPE svg[^>]*>\s*)*", re.DOTALL | re.IGNORECASE)
_HTML_START = re.compile(rf"\s*(?:{_COMMENT}\s*)*<(?:!doctype html|html[\s>])", re.DOTALL | re.IGNORECASE)
_HINT = f"publish one of: {_ACCEPTED}"
_log = structlog.get_logger(__name__)


def parse_content_type(declared: str) -> tuple[str, str]:
    """Type and charset of a ``content-type`` header: ``text/plain; charset=latin-1`` gives both, lower case."""
    message = Message()
    message["content-type"] = declared.strip() or "application/octet-stream"
    return message.get_content_type(), message.get_content_charset("") or ""


def sniff(data: bytes, declared: str = "", name: str = "") -> str:
    """The content type that ``data`` is to be read as. Certain bytes win over the declaration, with a log line."""
    if not data:
        raise InvalidMedia("the document is empty (0 bytes)", hint="publish a file with something in it")
    seen = sniff_head(data, declared, name)
    if seen is None:
        claimed, charset = parse_content_type(declared)
        return _text_type(data, claimed, charset, name)
    return seen


def sniff_head(head: bytes, declared: str = "", name: str = "") -> str | None:
    """The content type of a document that begins with ``head``; ``None`` where it may be text."""
    claimed, _ = parse_content_type(declared)
    seen = _binary_type(head)
    if seen is not None and claimed not in _UNSAID and _family(claimed) != _family(seen):
        _log.warning("mislabelled media", declared=claimed, read_as=seen, name=name)
    return seen


def _family(content_type: str) -> str:
    """``image`` or ``text`` or ...; containers of sound and pictures are one family, for both may hold either."""
    family = content_type.partition("/")[0]
    return "av" if family in {"audio", "video"} or content_type == "application/ogg" else family


def _binary_type(data: bytes) -> str | None:
    """The accepted format that the bytes are with certainty; ``None`` where they may be text."""
    for refused in REFUSED:
        if refused.fits(data):
            raise InvalidMedia(f"the document is {refused.name}", hint=_HINT)
    for accepted in ACCEPTED:
        if accepted.fits(data):
            return accepted.name
    if data[4:8] == b"ftyp":
        if data[8:12] in STILL_BRANDS:
            raise InvalidMedia("the document is a HEIC or AVIF picture", hint="save it as JPEG, PNG or WebP")
        return "video/mp4"
    if b"%PDF-" in data[:1024] and not data.lstrip().startswith(b"<"):
        return "application/pdf"  # readers allow some bytes before the header
    return None


def _text_type(data: bytes, claimed: str, charset: str, name: str) -> str:
    """Which kind of text it is. Raises where it is none, or where something else was declared."""
    try:
        text = decode(data, charset)
    except InvalidMedia as error:
        raise _not_text(data, claimed, error) from error
    head = text[:4096]
    said = _PROLOGUE.sub("", head, count=1)
    for what, start in REFUSED_TEXT:
        if said[: len(start)].lower() == start.lower():
            raise InvalidMedia(f"the document is {what}", hint=_HINT)
    if claimed not in _UNSAID and not _TEXT_LIKE.match(claimed):
        raise InvalidMedia(
            f"the document is declared as {claimed}, but reads as text", hint="declare what it really is"
        )
    return _kind_of_text(text[:65536], claimed, name)


def _kind_of_text(text: str, claimed: str, name: str) -> str:
    """A whole HTML page is HTML whatever it is called, so that no script of it is kept; else the declaration counts."""
    if _HTML_START.match(text) or claimed in {"text/html", "application/xhtml+xml"}:
        return "text/html"
    if claimed in {"text/markdown", "text/x-markdown"} or _MARKDOWN_NAME.search(name):
        return "text/markdown"
    if claimed in _UNSAID and _HTML_NAME.search(name):
        return "text/html"
    if claimed in _UNSAID and not name and sum(sign.search(text) is not None for sign in _MARKDOWN_SIGNS) >= 2:
        return "text/markdown"
    return "text/plain"


def _not_text(data: bytes, claimed: str, why: InvalidMedia) -> InvalidMedia:
    """Why these bytes are refused: by the name of their format where it is known."""
    try:
        guess = puremagic.magic_string(data[:65536])[0]
    except (puremagic.PureError, ValueError):
        guess = None
    if guess is not None and guess.confidence >= 0.8 and guess.name:
        return InvalidMedia(f"the document looks like {guess.name}, which is not read", hint=_HINT)
    if claimed in _UNSAID or _TEXT_LIKE.match(claimed):
        return why if _TEXT_LIKE.match(claimed) else InvalidMedia("the document is of no known format", hint=_HINT)
    return InvalidMedia(
        f"the document is declared as {claimed}, but its bytes are not", hint="check the file; it may be cut"
    )
