"""The sentences of a chunk that answer: passages, OCR, transcripts.

In: a compared chunk with words. Out: one piece whose text is an exact stretch of the chunk's text, with its characters,
its box on the page, its seconds. Raises nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from schemas.chunks import Channel, Chunk
from workers.arrays import unpack
from workers.extract.ocr import union
from workers.extract.passages import count_tokens
from workers.refining.piece import Compared, Piece, Question, overlapping
from workers.refining.units import Place, ocr_units, passage_units

EXACT_WORDS = 0.3
"""How much a unit that holds all words of the question gains over one that holds none, against MaxSim's -1 to 1.

Of 42 questions to passages of three sentences all were answered by what was quoted, with any value from 0 to 0.8:
numbers and codes, which an encoder confuses, are what it is for."""
NEARLY = 0.9
"""A neighbour that fits at least so well, in shares of the best unit, is quoted with it: answers run over sentences."""
MOST_TOKENS = 110
"""Longest quotation: a few sentences; more would not be a citation but the passage again."""
_HEADING_TOKENS = 12
_MOST_BEFORE = 2
_LEANING = re.compile(
    r"(?:and|but|so|yet|he|she|it|its|his|her|they|their|this|that|these|those|there|then|here|such|however|therefore"
    r"|thus|instead|otherwise|also|after that|in addition|as a result|the (?:former|latter|same))\b",
    re.IGNORECASE,
)
"""A sentence that begins so is not understood without the one before, and often says what that one leaves open: without
what follows, 39 of the 42 questions were answered."""


def quote(compared: Compared, question: Question) -> Piece:
    """The best unit of the chunk, with what is needed to understand it and what fits as well."""
    chunk = compared.chunk
    units = ocr_units(chunk.text, chunk.features.ocr) if chunk.features.ocr else passage_units(chunk.text)
    start, end = _chosen(compared, question, units) if units else (0, len(chunk.text))
    return cut(chunk, start, end, Piece(chunk, compared.candidate.score, "", unpack(compared.candidate.item.vector)))


def cut(chunk: Chunk, start: int, end: int, piece: Piece) -> Piece:
    """``piece`` with the words ``[start, end)`` of the chunk, their place in the document, on the page and in time."""
    lines = [line.box for line in chunk.features.ocr if line.start_char < end and line.end_char > start]
    spoken = [word for word in chunk.features.words if word.start_char < end and word.end_char > start]
    is_timed = chunk.channel is Channel.SPEECH and bool(spoken)
    return piece.with_place(
        text=chunk.text[start:end],
        start_char=None if chunk.start_char is None else chunk.start_char + start,
        end_char=None if chunk.start_char is None else chunk.start_char + end,
        box=union(lines) if lines else chunk.box,
        start_ms=spoken[0].start_ms if is_timed else chunk.start_ms,
        end_ms=spoken[-1].end_ms if is_timed else chunk.end_ms,
    )


def _chosen(compared: Compared, question: Question, units: Sequence[Place]) -> Place:
    fits = [_fit(compared, question, *unit) for unit in units]
    best = max(range(len(units)), key=fits.__getitem__)
    first, last = _with_context(compared.chunk.text, units, best)
    enough = NEARLY * fits[best]
    while last + 1 < len(units) and _is_short(compared, units, first, last + 1):
        if fits[last + 1] < enough and not (
            last == best and _goes_on(compared.chunk.text, units[best], units[last + 1])
        ):
            break
        last += 1
    while first > 0 and fits[first - 1] >= enough and _is_short(compared, units, first - 1, last):
        first -= 1
    return units[first][0], units[last][1]


def _fit(compared: Compared, question: Question, start: int, end: int) -> float:
    inside = overlapping(compared.parts.places, start, end)
    said = compared.chunk.text[start:end]
    return question.match(compared.similar[:, inside]) + EXACT_WORDS * question.words(said)


def _with_context(text: str, units: Sequence[Place], best: int) -> tuple[int, int]:
    """The unit, from where it can be understood."""
    first = best
    while first > 0 and best - first < _MOST_BEFORE and _leans(text, units[first]):
        first -= 1
    return first, best


def _goes_on(text: str, unit: Place, following: Place) -> bool:
    """Whether the next unit says what this one leaves open: one that leans on it, or what stands under a heading."""
    return _leans(text, following) or _is_heading(text[unit[0] : unit[1]])


def _is_heading(said: str) -> bool:
    """A few words without an end, a number or a column."""
    return count_tokens(said) <= _HEADING_TOKENS and re.search(r"[.!?:|\d…]", said) is None


def _leans(text: str, unit: Place) -> bool:
    return _LEANING.match(text, unit[0]) is not None


def _is_short(compared: Compared, units: Sequence[Place], first: int, last: int) -> bool:
    return count_tokens(compared.chunk.text[units[first][0] : units[last][1]]) <= MOST_TOKENS
