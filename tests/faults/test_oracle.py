"""The oracle sees what is wrong, and the journal is what it says."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from tests.faults.journal import Journal, Question, journal
from tests.faults.oracle import Row, Verdict, of_answers, of_index, of_quiet_run

PUBLISHED = journal(40, updates=12, deletes=4, questions=5)


def quiet() -> list[Row]:
    """Two rows for every document that is to be found."""
    return [
        Row(f"{name}-{version}-{place}", name, version, "content")
        for name, version in PUBLISHED.versions.items()
        for place in range(2)
    ]


@dataclass(frozen=True)
class Record:
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


def event(query_id: str, attempt: int, seq: int, kind: str) -> Record:
    value = json.dumps({"query_id": query_id, "attempt": attempt, "seq": seq}).encode()
    return Record(value, (("ce_type", f"sensorium.answer.{kind}.v1".encode()),))


def answer(query_id: str, attempt: int = 1) -> list[Record]:
    return [event(query_id, attempt, seq, kind) for seq, kind in enumerate(("started", "token-generated", "finished"))]


ASKED = Journal((), (Question("q1", "?"), Question("q2", "?")))


def test_a_journal_updates_and_deletes_in_order() -> None:
    assert len(PUBLISHED.actions) == 56
    assert 36 <= len(PUBLISHED.versions) < 40  # a deleted document may be published again
    for name in PUBLISHED.newest:
        versions = [action.version for action in PUBLISHED.actions if action.document_id == name]
        assert versions == list(range(1, len(versions) + 1))
    assert journal(40, updates=12, deletes=4, questions=5) == PUBLISHED


def test_what_is_right_is_clean() -> None:
    assert of_quiet_run(PUBLISHED, quiet()).is_clean
    assert of_index(PUBLISHED, quiet(), quiet()[::-1]).is_clean


def test_a_row_that_is_missing_is_lost() -> None:
    assert of_index(PUBLISHED, quiet(), quiet()[1:]) == Verdict(lost=(quiet()[0].chunk_id,))


def test_a_document_that_is_missing_is_lost_in_a_quiet_run() -> None:
    name = quiet()[0].document_id
    assert of_quiet_run(PUBLISHED, [row for row in quiet() if row.document_id != name]).lost == (name,)


def test_a_row_that_is_there_twice_is_doubled() -> None:
    assert of_index(PUBLISHED, quiet(), [*quiet(), quiet()[3]]).doubled == (quiet()[3].chunk_id,)


def test_an_older_version_is_stale() -> None:
    name = next(name for name, version in PUBLISHED.versions.items() if version > 1)
    old = Row(f"{name}-1-0", name, 1, "content")
    assert of_index(PUBLISHED, quiet(), [*quiet(), old]).stale == (old.chunk_id,)
    assert of_quiet_run(PUBLISHED, [*quiet(), old]).stale == (name,)


def test_a_deleted_document_is_stale() -> None:
    name = next(name for name, action in PUBLISHED.newest.items() if action.is_deletion)
    left = Row("left", name, 1, "content")
    assert of_index(PUBLISHED, quiet(), [*quiet(), left]).stale == ("left",)


def test_other_content_and_orphans_are_wrong() -> None:
    first, *rest = quiet()
    assert of_index(PUBLISHED, quiet(), [replace(first, content="other"), *rest]).wrong == (first.chunk_id,)
    orphan = replace(first, chunk_id="orphan")
    assert of_index(PUBLISHED, quiet(), [orphan, first, *rest]).wrong == ("orphan",)


def test_answers_that_are_whole_are_clean() -> None:
    assert of_answers(ASKED, [*answer("q1"), *answer("q2", attempt=7)]).is_clean


def test_a_superseded_part_is_clean() -> None:
    assert of_answers(ASKED, [*answer("q1")[:2], *answer("q1", attempt=2), *answer("q2")]).is_clean


def test_an_answer_without_an_end_is_lost() -> None:
    assert of_answers(ASKED, [*answer("q1")[:2], *answer("q2")]) == Verdict(lost=("q1",))
    assert of_answers(ASKED, answer("q2")).lost == ("q1",)


def test_two_answers_are_doubled() -> None:
    assert of_answers(ASKED, [*answer("q1"), *answer("q1", attempt=2), *answer("q2")]).doubled == ("q1",)


def test_gaps_late_events_and_strangers_are_wrong() -> None:
    gap = [record for number, record in enumerate(answer("q1")) if number != 1]
    assert of_answers(ASKED, [*gap, *answer("q2")]).wrong == ("q1",)
    late = [*answer("q1"), event("q1", 2, 0, "started")]
    assert of_answers(ASKED, [*late, *answer("q2")]).wrong == ("q1",)
    assert of_answers(ASKED, [*answer("q1"), *answer("q2"), *answer("q3")]).wrong == ("q3",)
