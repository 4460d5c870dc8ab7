"""Wall-clock time of an HLS stream: EXT-X-PROGRAM-DATE-TIME (RFC 8216, 4.3.2.6).

FFmpeg reads the tag but does not tell it, so the playlist is read once more beside it. In: an address, or a playlist.
Out: when its newest segment began, or ``None`` where that is not said. Raises nothing.
"""

from __future__ import annotations

import urllib.request
from datetime import datetime

MAX_BYTES = 1024 * 1024
TIMEOUT_S = 3.0


def fetch_newest(uri: str) -> float | None:
    """When the newest segment of the playlist at ``uri`` (http or https) began."""
    try:
        with urllib.request.urlopen(uri, timeout=TIMEOUT_S) as reply:  # noqa: S310 - the caller checked the scheme
            return newest_began_s(reply.read(MAX_BYTES).decode("utf-8", "replace"))
    except (OSError, ValueError):
        return None


def newest_began_s(text: str) -> float | None:
    """When the last segment of a media playlist began, seconds since the epoch."""
    began_s: float | None = None
    next_s: float | None = None
    length_s = 0.0
    for line in map(str.strip, text.splitlines()):
        name, _, value = line.partition(":")
        try:
            if name == "#EXT-X-PROGRAM-DATE-TIME":
                next_s = datetime.fromisoformat(value).timestamp()
            elif name == "#EXTINF":
                length_s = float(value.split(",")[0])
        except ValueError:
            return None
        if line and not line.startswith("#"):  # the segment that the tags above it are about
            began_s = next_s
            next_s = None if next_s is None else next_s + length_s
    return began_s
