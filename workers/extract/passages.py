"""Text into passages: whole sentences, about 60 to 150 words each, one sentence of overlap within a paragraph.

In: the document's text and its blocks. Out: passages as places in that text, so that ``text[start:end]`` is exactly
what a passage says. Blocks that belong together (code, tables) stay whole where their length allows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice

import sentencex

MAX_TOKENS = 200
"""Longest passage of prose where nothing else is asked for; encoders of 256 tokens still see it beside its title."""
ENOUGH_TOKENS = 80
"""From here on a new paragraph starts a new passage."""
FEW_TOKENS = 30
"""A last passage shorter than this joins the one before it."""
MAX_WHOLE_TOKENS = 300
"""A table or a piece of code up to this size is never cut."""
MAX_OVERLAP_TOKENS = 60
_SEGMENTED_AT_ONCE = 10_000
"""Characters; the segmenter is quadratic in runs of brackets and quotes (a million of them: 6 s)."""

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_TOKEN = re.compile(rf"[{_CJK}]|[^\W\d_{_CJK}]{{1,6}}|\d{{1,3}}|[^\w\s]|_")
_PARAGRAPH = re.compile(r"\S[^\n]*+(?:\n(?![ \t\r\f\v]*\n)[^\n]*+)*+")
"""Possessive: what may be given back is remembered, at a hundred bytes a character."""
_SOLID = re.compile(r"\S")
_LINE = re.compile(r"[^\n]*\S[^\n]*")


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, or, when ``whole``, something that is read as one: a table, code. Passages stay within a group."""

    start: int
    end: int
    title: str = ""
    whole: bool = False
    group: int = 0


@dataclass(frozen=True, slots=True)
class Passage:
    """A retrievable stretch of the text."""

    start: int
    end: int
    title: str = ""


@dataclass(frozen=True, slots=True)
class _Unit:
    """What is not cut: a sentence, a table, some lines of code. ``opens``: it is the first of its block."""

    start: int
    end: int
    tokens: int
    opens: bool
    is_prose: bool


def count_tokens(text: str) -> int:
    """About as many tokens as a WordPiece vocabulary makes of it (measured on English: 2 % more)."""
    return sum(1 for _ in _TOKEN.finditer(text))


def paragraphs(text: str, title: str = "") -> list[Block]:
    """The paragraphs of plain text: what blank lines part."""
    return [
        Block(found.start(), found.start() + len(found.group().rstrip()), title) for found in _PARAGRAPH.finditer(text)
    ]


def passages(text: str, blocks: Iterable[Block], most: int = MAX_TOKENS) -> Iterator[Passage]:
    """The passages of ``blocks``, in order; prose makes passages of at most ``most`` tokens."""
    for (_, title), together in groupby(blocks, key=lambda block: (block.group, block.title)):
        units = [unit for block in together for unit in _units(text, block, most)]
        yield from _packed(units, title, most)


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each sentence of ``text``, without the white space around it."""
    for start, end in _slices(text):
        piece = text[start:end]
        for found in sentencex.get_sentence_boundaries(_language(piece), piece):
            said = found["text"]
            if said.strip():
                first = start + found["start_index"] + len(said) - len(said.lstrip())
                yield first, start + found["start_index"] + len(said.rstrip())


def _slices(text: str) -> Iterator[tuple[int, int]]:
    """Stretches that the segmenter takes at once, cut at white space."""
    start = 0
    while len(text) - start > _SEGMENTED_AT_ONCE:
        cut = text.rfind(" ", start, start + _SEGMENTED_AT_ONCE)
        end = cut + 1 if cut > start else start + _SEGMENTED_AT_ONCE
        yield start, end
        start = end
    yield start, len(text)


def _language(text: str) -> str:
    """A language whose sentence ends fit the script; the segmenter needs a name."""
    return "zh" if len(re.findall(f"[{_CJK}]", text[:500])) > 50 else "en"


def _units(text: str, block: Block, most: int) -> Iterator[_Unit]:
    said = text[block.start : block.end]
    if block.whole and count_tokens(said) <= MAX_WHOLE_TOKENS:
        places = [(0, len(said))]
    elif block.whole:
        places = [line.span() for line in _LINE.finditer(said)]
    else:
        places = list(sentences(said))
    opens = True
    for start, end in places:
        limit = MAX_WHOLE_TOKENS if block.whole else most
        for first, last in _short(said, start, end, limit):
            tokens = count_tokens(said[first:last])
            yield _Unit(block.start + first, block.start + last, tokens, opens, not block.whole)
            opens = False


def _short(text: str, start: int, end: int, limit: int) -> Iterator[tuple[int, int]]:
    """``[start, end)`` in pieces of at most ``limit`` tokens, cut at white space or else anywhere."""
    while len(tokens := list(islice(_TOKEN.finditer(text, start, end), limit + 1))) > limit:
        cut = tokens[limit - 1].end()
        space = max(text.rfind(" ", start + 1, cut), text.rfind("\n", start + 1, cut))
        cut = space if space > start + (cut - start) // 2 else cut
        yield start, cut
        following = _SOLID.search(text, cut, end)
        start = following.start() if following is not None else end
    if start < end:
        yield start, end


def _packed(units: list[_Unit], title: str, most: int) -> Iterator[Passage]:
    """Units put together greedily; the tail joins its neighbour rather than stand alone."""
    groups: list[list[_Unit]] = []
    current: list[_Unit] = []
    total = 0
    for unit in units:
        if current and (total + unit.tokens > most or (unit.opens and total >= ENOUGH_TOKENS)):
            groups.append(current)
            current = _overlap(current, unit, most)
            total = sum(kept.tokens for kept in current)
        current.append(unit)
        total += unit.tokens
    if current:
        groups.append(current)
    if len(groups) > 1 and total < FEW_TOKENS:
        groups[-2:] = [groups[-2] + groups[-1]]
    for group in groups:
        yield Passage(group[0].start, group[-1].end, title)


def _overlap(passage: list[_Unit], following: _Unit, most: int) -> list[_Unit]:
    """The last sentence again, where a paragraph had to be cut: what it refers to stays in reach."""
    last = passage[-1]
    fits = last.tokens <= MAX_OVERLAP_TOKENS and last.tokens + following.tokens <= most
    return [last] if len(passage) > 1 and last.is_prose and fits and not following.opens else []
