"""Late, repeated and out-of-order events lose."""

from __future__ import annotations

from workers.store.versions import DocumentState, admits, after_chunks, after_deletion, cleaned, document_key, shown


def test_newer_and_equal_versions_are_admitted() -> None:
    assert admits(None, 1)
    assert admits(DocumentState(1), 1)
    assert admits(DocumentState(1), 2)
    assert not admits(DocumentState(2), 1)


def test_a_deletion_wins_over_its_own_version_and_loses_to_the_next() -> None:
    deleted = after_deletion(DocumentState(3), 5)
    assert deleted == DocumentState(5, is_deleted=True)
    assert not admits(deleted, 5)
    assert admits(deleted, 6)


def test_a_late_deletion_changes_nothing() -> None:
    assert after_deletion(DocumentState(6), 5) == DocumentState(6)


def test_older_rows_are_remembered_until_they_are_gone() -> None:
    state = after_chunks(after_chunks(None, 1), 2)
    assert state == DocumentState(2, has_older=True)
    assert after_chunks(state, 2) == state
    assert cleaned(state) == DocumentState(2)


def test_after_a_deletion_there_are_no_older_rows() -> None:
    assert after_chunks(DocumentState(5, is_deleted=True), 6) == DocumentState(6)


def test_keys_keep_tenants_apart() -> None:
    assert document_key("a", "bc") != document_key("ab", "c")


def test_while_it_is_replaced_the_old_version_is_shown() -> None:
    replacing = after_chunks(DocumentState(1), 2)
    assert shown(replacing, [1, 2]) == 1
    assert shown(replacing, [1, 2, 2, 1]) == 1
    assert shown(cleaned(replacing), [1, 2]) == 2
    assert shown(None, [1, 2]) == 2


def test_a_version_that_is_newer_than_what_was_known_wins() -> None:
    assert shown(DocumentState(5), [4, 5]) == 5
    assert shown(DocumentState(6, has_older=True), [4, 5]) == 5, "they were found before the sixth came"


def test_of_a_document_that_is_gone_nothing_is_shown() -> None:
    assert shown(DocumentState(2, is_deleted=True), [1, 2]) is None
    assert shown(DocumentState(2, is_deleted=True), [1, 3]) == 3
