"""The units that a quotation is made of: sentences of a passage, rows of a table, sentences over the lines of OCR.

In: the text of a chunk, for OCR with its lines. Out: places ``[start, end)`` in that text, in order, without the white
space around them. Raises nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from schemas.chunks import OcrLine
from workers.extract.passages import sentences

Place = tuple[int, int]
"""``[start, end)``, characters."""

_PARAGRAPH_BREAK = re.compile(r"\n[ \t\r]*\n")
_ROW = re.compile(r"^\s*(?:\||[-*+•]\s|\d{1,3}[.)]\s|#{1,6}\s)|\S\s*\|\s*\S|\t")
_RULE = re.compile(r"^[\s|:=_*+-]*$")
_OPEN_END = (",", "-", "–", "—", "(", "/", "&")
_FULL_WIDTH = 0.8
"""A line of OCR that is at least so wide, in shares of the widest one, was broken by the margin, not by the writer."""


def passage_units(text: str) -> list[Place]:
    """Sentences; a row of a table or a list, and a heading, is a unit of its own."""
    return [unit for start, end in _paragraphs(text) for unit in _paragraph_units(text, start, end)]


def ocr_units(text: str, lines: Sequence[OcrLine]) -> list[Place]:
    """Sentences that may run over several lines, as long as the lines read on; else each line is a unit."""
    units: list[Place] = []
    for block in _reading_on(lines):
        start, end = block[0].start_char, block[-1].end_char
        units += [(start + first, start + last) for first, last in sentences(text[start:end])]
    return units


def _paragraphs(text: str) -> Iterator[Place]:
    start = 0
    for blank in _PARAGRAPH_BREAK.finditer(text):
        yield start, blank.start()
        start = blank.end()
    yield start, len(text)


def _paragraph_units(text: str, start: int, end: int) -> Iterator[Place]:
    """Prose between rows is cut into sentences, each row stands by itself, a ruler line is left out."""
    prose_from, at = start, start
    for line in text[start:end].splitlines(keepends=True):
        if _ROW.search(line) or _RULE.match(line):
            yield from _sentences(text, prose_from, at)
            if not _RULE.match(line):
                yield at + len(line) - len(line.lstrip()), at + len(line.rstrip())
            prose_from = at + len(line)
        at += len(line)
    yield from _sentences(text, prose_from, end)


def _sentences(text: str, start: int, end: int) -> Iterator[Place]:
    for first, last in sentences(text[start:end]):
        yield start + first, start + last


def _reading_on(lines: Sequence[OcrLine]) -> Iterator[list[OcrLine]]:
    """Groups of lines that are one running text."""
    widest = max((_width(line) for line in lines), default=0.0)
    group: list[OcrLine] = []
    for line in lines:
        if group and not _runs_into(group[-1], line, widest):
            yield group
            group = []
        group.append(line)
    if group:
        yield group


def _runs_into(line: OcrLine, following: OcrLine, widest: float) -> bool:
    ends, begins = line.text.rstrip()[-1:], following.text.lstrip()[:1]
    return ends in _OPEN_END or begins.islower() or _width(line) >= _FULL_WIDTH * widest


def _width(line: OcrLine) -> float:
    return line.box[2] - line.box[0]
