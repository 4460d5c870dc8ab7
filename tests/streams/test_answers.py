"""An answer is the same however its events arrive: in any order, twice, with attempts that a crash broke off."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schemas.answers import AnswerFinished, AnswerStarted, StreamEvent, TokenGenerated
from streams.answers import AnswerAssembler


def answer(attempt: int, words: list[str], *, is_whole: bool = True) -> list[StreamEvent]:
    """The events of one attempt; a broken one lacks its end."""
    events: list[StreamEvent] = [AnswerStarted(query_id="q", attempt=attempt, seq=0, at_ms=0, generator="fake")]
    for seq, word in enumerate(words, 1):
        events.append(TokenGenerated(query_id="q", attempt=attempt, seq=seq, at_ms=0, text=word))
    if is_whole:
        events.append(
            AnswerFinished(
                query_id="q",
                attempt=attempt,
                seq=len(words) + 1,
                at_ms=0,
                answer="".join(words),
                citations=(),
                abstained=False,
                generator="fake",
            )
        )
    return events


def shown(events: list[StreamEvent]) -> tuple[str, list[StreamEvent], AnswerAssembler]:
    """What a consumer has on its screen in the end."""
    assembler = AnswerAssembler()
    screen, told = "", []
    for event in events:
        for ready in assembler.take(event):
            told.append(ready)
            if isinstance(ready, AnswerStarted):
                screen = ""
            elif isinstance(ready, TokenGenerated):
                screen += ready.text
    return screen, told, assembler


WORDS = st.lists(st.text(min_size=1, max_size=5), max_size=8)


@given(words=WORDS, data=st.data())
def test_any_order_and_any_repetition_give_the_same_answer(words: list[str], data: st.DataObject) -> None:
    events = answer(1, words)
    repeated = events + data.draw(st.lists(st.sampled_from(events)))
    screen, told, assembler = shown(data.draw(st.permutations(repeated)))
    assert screen == "".join(words)
    assert told == events
    assert assembler.finished


@given(broken=WORDS, words=WORDS, data=st.data())
def test_the_highest_attempt_replaces_what_a_crash_broke_off(
    broken: list[str], words: list[str], data: st.DataObject
) -> None:
    first, second = answer(1, broken, is_whole=False), answer(2, words)
    cut = data.draw(st.integers(0, len(first)))
    late = first[cut:]  # Kafka may deliver the rest of the old attempt after the new one has begun
    screen, told, assembler = shown([*first[:cut], second[0], *late, *second[1:]])
    assert screen == "".join(words)
    assert told[-1] == second[-1]
    assert assembler.attempt == 2


def test_nothing_follows_the_end() -> None:
    events = answer(1, ["a"])
    _, told, _ = shown([*events, *answer(3, ["b"])])
    assert told == events


def test_a_gap_that_is_never_filled_is_given_up_and_the_end_repeats_the_answer() -> None:
    started, _, second, finished = answer(1, ["a", "b"])
    assembler = AnswerAssembler()
    assert assembler.take(started) == [started]
    assert assembler.take(finished) == []
    assert assembler.take(second) == []
    assert assembler.lacks_only_what_is_lost
    assert assembler.give_up_the_gap() == [second, finished]
    assert assembler.finished
