"""Words are folded alike in questions and in evidence."""

from __future__ import annotations

import pytest

from workers.words import asked, content, coverage, stem, words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Batteries", "battery"),
        ("stopped", "stops"),
        ("running", "run"),
        ("Glasses", "glass"),
        ("décembre", "decembre"),
        ("makes", "making"),
    ],
)
def test_forms_of_a_word_are_one(one: str, other: str) -> None:
    assert stem(one) == stem(other)


@pytest.mark.parametrize(("one", "other"), [("fall", "falls"), ("pass", "passes"), ("bell", "bells")])
def test_doubled_letters_that_belong_stay(one: str, other: str) -> None:
    assert stem(one) == stem(other)


def test_numbers_and_codes_stay_whole() -> None:
    assert content("On 06:00, EUR 1,284.50 for room 012") == ["06:00", "eur", "1,284.50", "room", "012"]


def test_stop_words_say_nothing() -> None:
    assert content("What is the number of the engineer?") == ["number", "engineer"]


def test_words_that_ask_for_a_kind_of_answer_are_not_sought() -> None:
    assert asked("Show me a picture of a cat") == {"cat"}
    assert asked("show pictures") == {"show", "pictur"}  # nothing else to go by


def test_places_lead_back() -> None:
    text = "Two bells."
    assert [text[word.start : word.end] for word in words(text)] == ["Two", "bells"]


def test_coverage() -> None:
    assert coverage({"cat", "dog"}, ["dog", "fox"]) == 0.5
    assert coverage(set(), ["dog"]) == 0.0
