"""What a feed is called, and its address without its secrets.

In: the address that the user typed. Out: text that is safe in logs, ids and events. Raises nothing.
"""

from __future__ import annotations

import hashlib
import re
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

SECRET = re.compile(r"pass|pwd|token|key|secret|sig|auth|cred|user|login", re.IGNORECASE)
SCHEME = re.compile(r"^([a-z][a-z0-9+.-]*):(//)?", re.IGNORECASE)
DEVICES = ("v4l2", "alsa", "pulse", "fbdev", "x11grab", "avfoundation", "dshow", "gdigrab", "decklink")
"""Schemes that name an input device of FFmpeg: ``v4l2:///dev/video0``, ``alsa://default``."""


def scheme(uri: str) -> str:
    """The scheme in lower case; empty for a path."""
    found = SCHEME.match(uri)
    return found.group(1).lower() if found and (found.group(2) or uri.partition(":")[0] in DEVICES) else ""


def device(uri: str) -> tuple[str, str] | None:
    """``(FFmpeg's input format, its address)`` where ``uri`` names a device."""
    name = scheme(uri)
    if name in DEVICES:
        return name, SCHEME.sub("", uri, count=1)
    return ("v4l2", uri) if uri.startswith("/dev/video") else None


def masked(uri: str) -> str:
    """``uri`` without user, password and the values of query parameters that look like secrets."""
    if not scheme(uri):
        return uri
    parts = urlsplit(uri)
    # A password with an unescaped "/" moves the "@" out of the authority: then all before the last "@" is secret.
    if "@" not in parts.netloc and "@" in parts.path and not re.fullmatch(r"[^:]*(:\d*)?|\[.*\](:\d*)?", parts.netloc):
        return f"{parts.scheme}://***@{uri.rpartition('@')[2].partition('?')[0]}"
    netloc = f"***@{parts.netloc.rpartition('@')[2]}" if "@" in parts.netloc else parts.netloc
    query = parts.query
    if SECRET.search(query):
        pairs = parse_qsl(query, keep_blank_values=True)
        query = urlencode([(name, "***" if SECRET.search(name) else value) for name, value in pairs], safe="*/:,")
    return urlunsplit((parts.scheme, netloc, parts.path, query, ""))


def source_name(uri: str) -> str:
    """The source that documents of ``uri`` get when the user names none: host and path, or the file's name."""
    if not scheme(uri):
        return uri.rstrip("/").rpartition("/")[2] or "feed"
    parts = urlsplit(masked(uri))
    return f"{parts.netloc.removeprefix('***@')}{parts.path}".strip("/") or parts.scheme


def slug(source: str) -> str:
    """``source`` as a part of document ids: what is lost by the cleaning comes back as six digits of its hash."""
    clean = re.sub(r"[^a-z0-9]+", "-", source.lower()).strip("-")[:48]
    return clean if clean == source else f"{clean or 'feed'}-{hashlib.sha256(source.encode()).hexdigest()[:6]}"
