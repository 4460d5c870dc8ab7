"""Lines that OCR read, into passages: paragraphs in reading order, each with its box.

In: lines with boxes in 0–1 units. Out: passages of text with the lines placed in it. Pure geometry; raises nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from schemas.chunks import Box, OcrLine
from workers.extract.passages import MAX_TOKENS, count_tokens
from workers.models.base import Picture

_MIN_SIDE = 40
"""Pixels. Smaller pictures are enlarged by detectors until their texture looks like digits."""
_MIN_CONTRAST = 40
"""Difference between the darkest and the lightest point (0–255) below which nothing can be read."""
_FEW_TOKENS = 24
"""Blocks join their neighbour until they have as many tokens: a poster is not a chunk a word."""
_MIN_SCORES = ((2, 0.9), (5, 0.8))
"""Shorter readings must be surer: of 31 photos without text, 12 had a 'letter' read in them at 0.6 to 0.99."""
_MIN_SCORE = 0.6


@dataclass(frozen=True, slots=True)
class ReadPassage:
    """A paragraph of a picture. Each line stands at ``[start_char, end_char)`` of ``text``; ``box`` holds them all."""

    text: str
    box: Box
    lines: tuple[OcrLine, ...]


@dataclass(slots=True)
class _Block:
    lines: list[OcrLine] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        return sum(count_tokens(line.text) for line in self.lines)


def may_hold_text(picture: Picture) -> bool:
    """Whether it is worth looking for text. Only rules out what certainly holds none: too small, or all one shade.

    Finer tests (chains of letter-like components) missed large and outlined words for a saving of 0.3 s a picture.
    """
    height, width = picture.shape[:2]
    return min(height, width) >= _MIN_SIDE and int(np.ptp(picture[:, :, 1])) >= _MIN_CONTRAST


def believable(lines: Sequence[OcrLine]) -> list[OcrLine]:
    """Without what OCR sees in texture: low scores, lone characters, the same character again and again."""
    return [line for line in lines if _is_believable(line)]


def _is_believable(line: OcrLine) -> bool:
    read = [character for character in line.text if character.isalnum()]
    if len(set(read)) < 2:
        return False
    needed = next((score for length, score in _MIN_SCORES if len(read) <= length), _MIN_SCORE)
    return line.score >= needed


def read_passages(lines: Sequence[OcrLine], *, aspect: float = 1.0) -> list[ReadPassage]:
    """Paragraphs of ``lines`` (which are in reading order); ``aspect`` is the picture's width over its height."""
    blocks: list[_Block] = []
    for line in lines:
        home = next((block for block in reversed(blocks) if _continues(block.lines[-1], line, aspect)), None)
        if home is None:
            blocks.append(home := _Block())
        home.lines.append(line)
    return [_passage(part) for block in _joined(blocks) for part in _cut(block.lines)]


def _continues(last: OcrLine, line: OcrLine, aspect: float) -> bool:
    """Whether ``line`` is the next row of the paragraph, or the next words of the row, that ``last`` ended."""
    height, other = last.box[3] - last.box[1], line.box[3] - line.box[1]
    if max(height, other) > 1.8 * min(height, other):
        return False
    overlap = min(last.box[2], line.box[2]) - max(last.box[0], line.box[0])
    narrower = min(last.box[2] - last.box[0], line.box[2] - line.box[0])
    gap = line.box[1] - last.box[3]
    if overlap > 0.3 * narrower and -0.5 * height < gap < 0.8 * height:
        return True
    return _same_row(last, line) and 0 <= (line.box[0] - last.box[2]) * aspect < 2 * height


def _same_row(last: OcrLine, line: OcrLine) -> bool:
    shared = min(last.box[3], line.box[3]) - max(last.box[1], line.box[1])
    return shared > 0.5 * min(last.box[3] - last.box[1], line.box[3] - line.box[1]) and line.box[0] >= last.box[0]


def _joined(blocks: list[_Block]) -> list[_Block]:
    joined: list[_Block] = []
    for block in blocks:
        if joined and joined[-1].tokens < _FEW_TOKENS:
            joined[-1].lines.extend(block.lines)
        else:
            joined.append(block)
    return joined


def _cut(lines: list[OcrLine]) -> list[list[OcrLine]]:
    """Lines in runs of at most ``MAX_TOKENS``."""
    runs: list[list[OcrLine]] = [[]]
    total = 0
    for line in lines:
        tokens = count_tokens(line.text)
        if runs[-1] and total + tokens > MAX_TOKENS:
            runs.append([])
            total = 0
        runs[-1].append(line)
        total += tokens
    return runs


def _passage(lines: list[OcrLine]) -> ReadPassage:
    text = ""
    placed: list[OcrLine] = []
    for line in lines:
        if placed:
            text += " " if _same_row(placed[-1], line) else "\n"
        placed.append(line.model_copy(update={"start_char": len(text), "end_char": len(text) + len(line.text)}))
        text += line.text
    return ReadPassage(text, union([line.box for line in lines]), tuple(placed))


def union(boxes: Sequence[Box]) -> Box:
    """The smallest box around ``boxes``."""
    sides = np.asarray(boxes, dtype=np.float64)
    x0, y0 = sides[:, :2].min(axis=0)
    x1, y1 = sides[:, 2:].max(axis=0)
    return (float(x0), float(y0), float(x1), float(y1))
