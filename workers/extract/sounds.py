"""What is heard, into chunks: spoken words into passages, windows of sound into events.

In: words and windows on the document's time line. Out: groups of them, as long as one thought or one event. Pure
functions over times and names; they raise nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from schemas.chunks import Label, SoundWindow, Word
from workers.models.base import Segment

ENOUGH_MS, MOST_MS = 10_000, 25_000
"""A spoken passage ends with a sentence once it has the one, and anywhere at the other."""
_PAUSE_MS = 3_000
_TAIL_MS = 3_000
_SENTENCE_ENDS = (".", "?", "!", "\u2026", "\u3002", "\uff1f", "\uff01", '."', '?"', '!"')
_MIN_PROBABILITY = 0.3
"""Mean probability of the words below which a passage is what recognisers hear in music and noise."""

LONGEST_SOUND_MS = 10_000
_MIN_SCORE = 0.1
_LABELS = 10
_FLICKER_WINDOWS = 2
_SPEECH = ("speech", "conversation", "narration", "monologue", "singing", "rapping", "whispering", "shout", "chant")
_SPEECH_SCORE = 0.1
_PAD_MS = 1_000
_APART_MS = 2_500


@dataclass(frozen=True, slots=True)
class SpokenPassage:
    """Words with their places in ``text``."""

    text: str
    words: tuple[Word, ...]

    @property
    def start_ms(self) -> int:
        """When the first word begins."""
        return self.words[0].start_ms

    @property
    def end_ms(self) -> int:
        """When the last word ends."""
        return max(word.end_ms for word in self.words)


@dataclass(frozen=True, slots=True)
class SoundSpan:
    """An event: neighbouring windows in which the same is heard, and the best score of each label in them."""

    start_ms: int
    end_ms: int
    labels: tuple[Label, ...]
    windows: tuple[SoundWindow, ...]


def spoken_passages(segments: Sequence[Segment], offset_ms: int = 0) -> list[SpokenPassage]:
    """Passages of 10 to 25 s that end with a sentence or a pause where they can; times are moved by ``offset_ms``."""
    words = [word for segment in segments for word in segment.words if word.text.strip()]
    groups: list[list[Word]] = []
    for word in words:
        if not groups or _ends(groups[-1], word):
            groups.append([])
        groups[-1].append(word)
    if len(groups) > 1 and _is_tail(groups[-2], groups[-1]):
        groups[-2:] = [groups[-2] + groups[-1]]
    return [_spoken(group, offset_ms) for group in groups if _is_sure(group)]


def _ends(passage: list[Word], word: Word) -> bool:
    """Whether ``passage`` is over before ``word``."""
    lasts = passage[-1].end_ms - passage[0].start_ms
    is_sentence = passage[-1].text.strip().endswith(_SENTENCE_ENDS)
    too_long = word.end_ms - passage[0].start_ms > MOST_MS
    return too_long or word.start_ms - passage[-1].end_ms > _PAUSE_MS or (lasts >= ENOUGH_MS and is_sentence)


def _is_tail(passage: list[Word], tail: list[Word]) -> bool:
    """Whether the last passage is too short to stand alone, and close enough to the one before it."""
    is_short = tail[-1].end_ms - tail[0].start_ms < _TAIL_MS
    together = tail[-1].end_ms - passage[0].start_ms <= MOST_MS + _TAIL_MS
    return is_short and together and tail[0].start_ms - passage[-1].end_ms <= _PAUSE_MS


def _is_sure(words: list[Word]) -> bool:
    return sum(word.probability for word in words) / len(words) >= _MIN_PROBABILITY


def _spoken(words: list[Word], offset_ms: int) -> SpokenPassage:
    """Recognisers mark a space before a word by beginning it with one, where their language has spaces."""
    has_marks = any(word.text.startswith(" ") for word in words)
    text = ""
    placed = []
    for word in words:
        if text and (word.text.startswith(" ") or not has_marks):
            text += " "
        start, said = len(text), word.text.strip()
        text += said
        times = {"start_ms": word.start_ms + offset_ms, "end_ms": word.end_ms + offset_ms}
        placed.append(word.model_copy(update={"text": said, "start_char": start, "end_char": len(text), **times}))
    return SpokenPassage(text, tuple(placed))


def speech_times(windows: Sequence[SoundWindow]) -> list[tuple[int, int]]:
    """Where somebody may be speaking, with a second on both sides: the only parts that are worth recognising."""
    times: list[tuple[int, int]] = []
    for window in windows:
        if any(label.score >= _SPEECH_SCORE and _is_speech(label.name) for label in window.labels):
            start, end = max(0, window.start_ms - _PAD_MS), window.end_ms + _PAD_MS
            if times and start - times[-1][1] <= _APART_MS:
                start, end = times[-1][0], max(times[-1][1], end)
                times.pop()
            times.append((start, end))
    return times


def _is_speech(name: str) -> bool:
    return any(word in name.lower() for word in _SPEECH)


def sound_spans(windows: Iterable[SoundWindow]) -> list[SoundSpan]:
    """Events of at most 10 s, without silence; faint ones only where there is nothing else."""
    groups: list[list[SoundWindow]] = []
    for window in windows:
        if not window.labels or window.labels[0].name.lower() == "silence":
            continue
        if groups and _is_same(groups[-1], window):
            groups[-1].append(window)
        elif len(groups) > 1 and _is_flicker(groups[-2], groups[-1], window):
            groups[-2:] = [[*groups[-2], *groups[-1], window]]
        else:
            groups.append([window])
    spans = [_span(group) for group in groups]
    clear = [span for span in spans if span.labels[0].score >= _MIN_SCORE]
    return clear or sorted(spans, key=lambda span: -span.labels[0].score)[:1]


def _is_flicker(event: list[SoundWindow], between: list[SoundWindow], window: SoundWindow) -> bool:
    """Whether ``window`` goes on with ``event`` after a moment that was heard, faintly, as something else."""
    is_faint = _span(between).labels[0].score < 0.5 * _span(event).labels[0].score
    is_close = window.start_ms <= between[-1].end_ms and between[0].start_ms <= event[-1].end_ms
    return len(between) <= _FLICKER_WINDOWS and is_faint and is_close and _goes_on(event, window)


def _is_same(group: list[SoundWindow], window: SoundWindow) -> bool:
    """Whether ``window`` follows at once, and the same is heard in it."""
    return window.start_ms <= group[-1].end_ms and _goes_on(group, window)


def _goes_on(group: list[SoundWindow], window: SoundWindow) -> bool:
    """Whether what dominates the event so far is still heard, at least half as clearly as anything else."""
    dominant = _span(group).labels[0].name
    is_heard = any(label.name == dominant and label.score >= 0.5 * window.labels[0].score for label in window.labels)
    return is_heard and window.end_ms - group[0].start_ms <= LONGEST_SOUND_MS


def _span(windows: list[SoundWindow]) -> SoundSpan:
    scores: dict[str, float] = {}
    for window in windows:
        for label in window.labels:
            scores[label.name] = max(scores.get(label.name, 0.0), label.score)
    best = sorted(scores.items(), key=lambda item: -item[1])[:_LABELS]
    labels = tuple(Label(name=name, score=score) for name, score in best)
    return SoundSpan(windows[0].start_ms, windows[-1].end_ms, labels, tuple(windows))


def clock(start_ms: int, end_ms: int) -> str:
    """A span as players show it, in whole seconds around it: 0:03–0:05."""  # as it is printed
    return f"{_second(start_ms // 1000)}\u2013{_second(-(-end_ms // 1000))}"


def _second(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
