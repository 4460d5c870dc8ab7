"""Words are folded the same way when they are written and when they are asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.store.terms import asked, folded


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Dogs, CATS & Buses", "dog cat buse"),  # not a word, but "bus" and "buses" need not meet more often than this
        ("the cities' puppies", "the city puppy"),
        ("glass focus gas", "glass focus gas"),
        ("the dog’s tail", "the dog tail"),
        ("ﬁne Straße", "fine strasse"),
        ("alarm-clock_2.ogg", "alarm clock 2 ogg"),
        ("犬が走る", "犬が が走 走る"),
        ("猫", "猫"),
        ("", ""),
    ],
)
def test_folding(text: str, words: str) -> None:
    assert folded(text) == words


def test_a_question_keeps_the_words_that_say_something_once() -> None:
    assert asked("What does the dog do, when the dogs bark?") == "dog bark"


def test_a_question_of_stop_words_only_keeps_them() -> None:
    assert asked("who is it") == "who is it"


@given(st.text())
def test_questions_meet_their_texts(text: str) -> None:
    assert set(asked(text).split()) <= set(folded(text).split())
