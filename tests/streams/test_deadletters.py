"""Dead letters: whatever a record holds comes back byte for byte; which ones a filter takes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.letters import DeadLetter
from streams.deadletters import dead_letter, original
from streams.letterbox import LetterFilter
from streams.record import Record
from streams.wire import decode, encode
from workers.errors import InvalidEvent

NOW_MS = 1_700_000_000_000
NAMES = st.text(st.characters(codec="utf-8"), max_size=20)


@given(
    key=st.none() | st.binary(max_size=50),
    value=st.none() | st.binary(max_size=200),
    headers=st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=50)), max_size=5),
    reason=st.text(st.characters(), max_size=50),  # with lone surrogates
)
@settings(max_examples=300, deadline=None)
def test_letter_brings_back_every_byte(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]], reason: str
) -> None:
    record = Record("media.received.v1", value, key, tuple(headers), 3, 77, NOW_MS)
    letter = dead_letter(record, InvalidEvent(reason), stage="extract", now_ms=NOW_MS + 5, event=None)
    on_the_wire = encode(letter)
    back = decode(on_the_wire)
    assert isinstance(back, DeadLetter)
    replayed = original(back)
    assert (replayed.topic, replayed.partition, replayed.timestamp_ms) == ("media.received.v1", 3, NOW_MS)
    assert (replayed.key, replayed.value, replayed.headers) == (key, value, tuple(headers))


def test_letter_of_too_many_bytes_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.deadletters.MAX_KEPT_BYTES", 10)
    record = Record("media.received.v1", b"x" * 11, b"acme/d", (), 1, 9, NOW_MS)
    letter = dead_letter(record, InvalidEvent("bad"), stage="extract", now_ms=NOW_MS, event=None)
    assert (letter.is_whole, letter.original_value, letter.original_key) == (False, None, None)
    assert (letter.about, letter.partition, letter.offset) == ("acme/d", 1, 9)


@pytest.mark.parametrize(
    ("chosen", "is_taken"),
    [
        (LetterFilter(), True),
        (LetterFilter(stage="extract", error="InvalidMedia", tenant="acme", about="d1", since_ms=NOW_MS), True),
        (LetterFilter(about="acme/d1"), True),
        (LetterFilter(stage="embed"), False),
        (LetterFilter(error="LimitExceeded"), False),
        (LetterFilter(tenant="other"), False),
        (LetterFilter(about="d"), False),
        (LetterFilter(since_ms=NOW_MS + 1), False),
    ],
)
def test_filters(chosen: LetterFilter, is_taken: bool) -> None:
    letter = DeadLetter(
        tenant="acme",
        stage="extract",
        topic="media.received.v1",
        partition=0,
        offset=0,
        about="d1",
        error="InvalidMedia",
        reason="",
        failed_ms=NOW_MS,
    )
    assert chosen.takes(letter) is is_taken
