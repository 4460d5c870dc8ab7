"""Dead letters: made from the record that a stage refused, and given back to the topic that it came from."""

from __future__ import annotations

from schemas.base import DEFAULT_TENANT, Event, Trace
from schemas.letters import DeadLetter
from streams.record import Record
from workers.errors import InvalidEvent

MAX_KEPT_BYTES = 10 * 1024 * 1024
MAX_TEXT = 4000


def dead_letter(
    record: Record, error: InvalidEvent, *, stage: str, now_ms: int, event: Event | None, attempts: int = 1
) -> DeadLetter:
    """The dead letter for ``record``; ``event`` is what it held, where that could be read.

    A record beyond ``MAX_KEPT_BYTES`` cannot be carried inside another event; it still lies at its topic and offset.
    """
    key = (record.key or b"").decode("utf-8", "replace")
    letter = DeadLetter(
        tenant=event.tenant if event else DEFAULT_TENANT,
        trace=event.trace if event else Trace(received_ms=record.timestamp_ms),
        stage=stage,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        about=printable((event.subject if event else key) or "unknown"),
        error=type(error).__name__,
        reason=printable(error.reason),
        hint=printable(error.hint),
        attempts=attempts,
        failed_ms=now_ms,
        original_key=record.key,
        original_value=record.value,
        original_headers=record.headers,
        original_timestamp_ms=record.timestamp_ms,
    )
    return letter if record.size <= MAX_KEPT_BYTES else without_bytes(letter)


def without_bytes(letter: DeadLetter) -> DeadLetter:
    """The letter where its bytes are too many to be carried; they still lie at its topic and offset."""
    left_out = {"original_key": None, "original_value": None, "original_headers": (), "is_whole": False}
    return letter.model_copy(update=left_out)


def printable(text: str) -> str:
    """``text`` as JSON and headers can carry it, whatever bytes it was made of; a reason names what it is about."""
    return text.encode("utf-8", "replace").decode("utf-8")[:MAX_TEXT]


def original(letter: DeadLetter) -> Record:
    """The record that the letter holds, byte for byte, for the partition that it came from, with the time of then."""
    return Record(
        topic=letter.topic,
        key=letter.original_key,
        value=letter.original_value,
        headers=letter.original_headers,
        partition=letter.partition,
        timestamp_ms=letter.original_timestamp_ms,
    )
