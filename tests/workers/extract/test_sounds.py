"""Words into passages, windows into events."""

from __future__ import annotations

from schemas.chunks import Label, SoundWindow, Word
from workers.extract.sounds import clock, sound_spans, speech_times, spoken_passages
from workers.models.base import Segment


def _words(
    count: int, *, every_ms: int = 500, start_ms: int = 0, sentence: int = 8, probability: float = 0.9
) -> list[Word]:
    return [
        Word(
            text=f" word{n}" + ("." if n % sentence == sentence - 1 else ""),
            start_ms=start_ms + n * every_ms,
            end_ms=start_ms + n * every_ms + every_ms - 100,
            probability=probability,
        )
        for n in range(count)
    ]


def _segment(words: list[Word]) -> Segment:
    return Segment(tuple(words), words[0].start_ms, words[-1].end_ms)


def _window(start_ms: int, *names: str, score: float = 0.8) -> SoundWindow:
    labels = tuple(Label(name=name, score=score / (place + 1)) for place, name in enumerate(names))
    return SoundWindow(start_ms=start_ms, end_ms=start_ms + 960, labels=labels)


def test_passages_end_with_a_sentence_after_ten_seconds() -> None:
    found = spoken_passages([_segment(_words(100))], offset_ms=60_000)
    assert len(found) > 2
    for passage in found[:-1]:
        assert passage.text.endswith(".")
        assert 10_000 <= passage.end_ms - passage.start_ms <= 25_000
    assert found[0].start_ms == 60_000
    for passage in found:
        for word in passage.words:
            assert passage.text[word.start_char : word.end_char] == word.text == word.text.strip()


def test_passages_without_sentences_end_after_25_seconds_and_at_pauses() -> None:
    endless = spoken_passages([_segment(_words(120, sentence=10_000))])
    assert all(passage.end_ms - passage.start_ms <= 25_000 for passage in endless)
    parted = spoken_passages([_segment(_words(8)), _segment(_words(8, start_ms=20_000))])
    assert [passage.start_ms for passage in parted] == [0, 20_000]


def test_a_short_tail_joins_the_passage_before_it() -> None:
    (only,) = spoken_passages([_segment(_words(26))])
    assert len(only.words) == 26


def test_words_without_spaces_are_not_torn_apart() -> None:
    plain = [Word(text=text, start_ms=0, end_ms=100) for text in ("Now", "then")]
    assert spoken_passages([_segment(plain)])[0].text == "Now then"
    marked = [Word(text=text, start_ms=0, end_ms=100) for text in (" un", "believable", " it", " is.")]
    assert spoken_passages([_segment(marked)])[0].text == "un" + "believable it is."


def test_unsure_words_are_dropped() -> None:
    assert spoken_passages([_segment(_words(10, probability=0.1))]) == []
    assert spoken_passages([]) == []


def test_speech_times_have_a_margin_and_join_over_short_gaps() -> None:
    windows = [
        _window(3000, "Speech"),
        _window(6000, "Music", "Male speech, man speaking"),
        _window(20_000, "Narration, monologue"),
    ]
    assert speech_times(windows) == [(2000, 7960), (19_000, 21_960)]
    assert speech_times([_window(0, "Dog")]) == []


def test_neighbours_of_one_sound_are_one_event() -> None:
    windows = [_window(0, "Dog", "Animal"), _window(480, "Animal", "Dog"), _window(960, "Dog"), _window(1440, "Rain")]
    dog, rain = sound_spans(windows)
    assert (dog.start_ms, dog.end_ms, len(dog.windows)) == (0, 1920, 3)
    assert dog.labels[0].name == "Dog"
    assert rain.labels[0].name == "Rain"


def test_events_are_at_most_ten_seconds_and_never_silence() -> None:
    spans = sound_spans([_window(n * 480, "Music") for n in range(100)])
    assert all(span.end_ms - span.start_ms <= 10_000 for span in spans)
    assert sound_spans([_window(0, "Silence"), _window(480, "Silence", "Hum")]) == []


def test_faint_events_count_only_where_nothing_else_is() -> None:
    faint, clear = _window(0, "Bee", score=0.05), _window(480, "Bell", score=0.6)
    assert [span.labels[0].name for span in sound_spans([faint, clear])] == ["Bell"]
    assert [span.labels[0].name for span in sound_spans([faint])] == ["Bee"]


def test_a_faint_flicker_does_not_part_an_event() -> None:
    beep = [_window(n * 480, "Beep") for n in range(6)]
    flicker = [*beep[:3], _window(1440, "Glass", score=0.2), *beep[4:]]
    assert [span.labels[0].name for span in sound_spans(flicker)] == ["Beep"]
    parted = [*beep[:3], _window(1440, "Glass", score=0.7), *beep[4:]]
    assert [span.labels[0].name for span in sound_spans(parted)] == ["Beep", "Glass", "Beep"]


def test_clock() -> None:
    assert clock(3999, 5001) == "0:03\u20130:06"
    assert clock(61_000, 3_723_000) == "1:01\u20131:02:03"
