"""Dead letters: made from the record that a stage refused, and given back to the topic that it came from."""

from __future__ import annotations

from schemas.base import DEFAULT_TENANT, Event, Trace
from schemas.letters import DeadLetter
from streams.record import Record
from workers.errors import InvalidEvent

MAX_KEPT_BYTES = 10 * 1024 * 1024


def dead_letter(
    record: Record, error: InvalidEvent, *, stage: str, now_ms: int, event: Event | None, attempts: int = 1
) -> DeadLetter:
    """The dead letter for ``record``; ``event`` is what it held, where that could be read.

    A value beyond ``MAX_KEPT_BYTES`` cannot be carried inside another event; it still lies at its topic and offset.
    """
    key = (record.key or b"").decode("utf-8", "replace")
    value = record.value
    kept = value if value is None or len(value) <= MAX_KEPT_BYTES else None
    return DeadLetter(
        tenant=event.tenant if event else DEFAULT_TENANT,
        trace=event.trace if event else Trace(received_ms=record.timestamp_ms),
        stage=stage,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        about=(event.subject if event else key) or "unknown",
        error=type(error).__name__,
        reason=error.reason,
        hint=error.hint,
        attempts=attempts,
        failed_ms=now_ms,
        original_key=record.key,
        original_value=kept,
        original_headers=record.headers,
    )


def without_bytes(letter: DeadLetter) -> DeadLetter:
    """The letter where its bytes are too many to be carried; they still lie at its topic and offset."""
    return letter.model_copy(update={"original_key": None, "original_value": None, "original_headers": ()})


def original(letter: DeadLetter) -> Record:
    """The record that the letter holds, byte for byte, for its own topic."""
    return Record(
        topic=letter.topic,
        key=letter.original_key,
        value=letter.original_value,
        headers=letter.original_headers,
    )
