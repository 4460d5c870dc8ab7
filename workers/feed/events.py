"""What a feed tells while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

FeedEventKind = Literal[
    "connected",  # a connection delivers; details: epoch, tracks, clock
    "disconnected",  # it ended, or was silent; what is tried next is in the text
    "gap",  # wall-clock time of which nothing was received: from_ms, to_ms
    "recoded",  # the video is encoded anew from now on, and why
    "published",  # a segment is a document now: document_id, event_time_ms, bytes, delay_ms
    "dropped",  # a whole segment, or a stretch of packets, was left out, and why
    "ended",  # the feed is over: its end, the given duration, or a signal
]


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """One thing that happened. ``text`` is a sentence for people, ``details`` are its figures."""

    kind: FeedEventKind
    text: str
    at_ms: int
    details: Mapping[str, str | int | float] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.text


Tell = Callable[[FeedEvent], None]


def happened(kind: FeedEventKind, text: str, **details: str | int | float) -> FeedEvent:
    """The event of this moment."""
    return FeedEvent(kind, text, round(time.time() * 1000), details)
