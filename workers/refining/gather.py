"""Pieces into evidence: what overlaps is merged, repetition and weak pieces dropped, a limit and a budget kept.

In: pieces, best first. Out: numbered evidence, best first; never nothing out of something.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from schemas.chunks import Channel
from schemas.queries import Evidence
from workers.extract.passages import count_tokens
from workers.refining.piece import Piece
from workers.refining.quote import cut
from workers.words import words

WEAK_SHARE = 0.3
"""Pieces below this share of the best score are dropped: scores are relevance estimates from 0 to 1."""
SAME_WORDS = 0.8
"""Jaccard similarity of word shingles from which two quotations say the same (Broder 1997 took 0.5 for web pages; the
short texts here share more by chance)."""
SAME_LOOK = 0.98
"""Cosine from which two pictures or sounds of one document are one."""
SAME_DOCUMENT = 0.85
"""Each further piece of a document counts this much less when evidence is chosen: one must not crowd out all."""
_SHINGLE = 3
_WORDLESS_TOKENS = 12
"""What a picture or a sound costs beside its name: where it is, what it is called."""


def gather(pieces: Sequence[Piece], limit: int, token_budget: int) -> tuple[Evidence, ...]:
    """At most ``limit`` pieces of evidence of about ``token_budget`` tokens altogether."""
    distinct = list(_distinct(_merged(pieces)))
    if not distinct:
        return ()
    floor = WEAK_SHARE * max(piece.score for piece in distinct)
    strong = [piece for piece in distinct if piece.score >= floor]
    chosen = _within(token_budget, _diverse(strong))[:limit]
    ordered = sorted(chosen, key=lambda piece: -piece.score)
    return tuple(piece.evidence(number) for number, piece in enumerate(ordered, start=1))


def _merged(pieces: Iterable[Piece]) -> list[Piece]:
    """Pieces of one document that overlap, or follow each other within a chunk, as one."""
    merged: list[Piece] = []
    for piece in pieces:
        for number, other in enumerate(merged):
            joined = _joined(other, piece)
            if joined is not None:
                merged[number] = joined
                break
        else:
            merged.append(piece)
    return merged


def _joined(one: Piece, other: Piece) -> Piece | None:
    """``one`` with ``other`` in it, where both are stretches of one document that touch; else ``None``."""
    if one.chunk.document_id != other.chunk.document_id or one.chunk.channel is not other.chunk.channel:
        return None
    if one.chunk.channel is Channel.TEXT:
        return _joined_text(one, other)
    if one.chunk.channel is Channel.SOUND and one.text == other.text:
        return _joined_time(one, other)
    return None


def _joined_text(one: Piece, other: Piece) -> Piece | None:
    if one.start_char is None or one.end_char is None or other.start_char is None or other.end_char is None:
        return None
    start, end = min(one.start_char, other.start_char), max(one.end_char, other.end_char)
    for piece in (one, other):  # only a chunk that holds all of it can be quoted exactly
        chunk = piece.chunk
        holds_all = (
            chunk.start_char is not None and chunk.start_char <= start and end <= chunk.start_char + len(chunk.text)
        )
        touch = max(one.start_char, other.start_char) <= min(one.end_char, other.end_char) + 1
        if holds_all and touch and chunk.start_char is not None:
            return cut(chunk, start - chunk.start_char, end - chunk.start_char, _better(one, other, piece))
    return None


def _joined_time(one: Piece, other: Piece) -> Piece | None:
    if one.start_ms is None or one.end_ms is None or other.start_ms is None or other.end_ms is None:
        return None
    if max(one.start_ms, other.start_ms) > min(one.end_ms, other.end_ms):
        return None
    return one.with_place(start_ms=min(one.start_ms, other.start_ms), end_ms=max(one.end_ms, other.end_ms))


def _better(one: Piece, other: Piece, basis: Piece) -> Piece:
    return basis.with_place(score=max(one.score, other.score))


def _distinct(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Pieces, best first, without those that repeat an earlier one."""
    kept: list[tuple[Piece, frozenset[tuple[str, ...]]]] = []
    for piece in sorted(pieces, key=lambda piece: -piece.score):
        shingles = _shingles(piece.text) if _has_words(piece) else frozenset()
        if not any(_repeats(piece, shingles, other, others) for other, others in kept):
            kept.append((piece, shingles))
            yield piece


def _repeats(
    piece: Piece, shingles: frozenset[tuple[str, ...]], other: Piece, others: frozenset[tuple[str, ...]]
) -> bool:
    if _has_words(piece) and _has_words(other):
        shared, smaller = len(shingles & others), min(len(shingles), len(others))
        is_inside = smaller >= 2 * _SHINGLE and shared == smaller and len(piece.text) <= len(other.text)
        return is_inside or (smaller > 0 and shared >= SAME_WORDS * len(shingles | others))
    if piece.chunk.channel is not other.chunk.channel:
        return False
    media, others_media = piece.chunk.media, other.chunk.media
    if media is not None and others_media is not None and media.sha256 == others_media.sha256:
        return (piece.box, piece.start_ms, piece.end_ms) == (other.box, other.start_ms, other.end_ms)
    is_one = piece.chunk.document_id == other.chunk.document_id and piece.chunk.version == other.chunk.version
    return is_one and piece.text == other.text and float(np.dot(piece.vector, other.vector)) >= SAME_LOOK


def _has_words(piece: Piece) -> bool:
    return piece.chunk.channel in (Channel.TEXT, Channel.SPEECH)


def _shingles(text: str) -> frozenset[tuple[str, ...]]:
    stems = [word.stem for word in words(text)]
    size = min(_SHINGLE, len(stems))
    return frozenset(tuple(stems[at : at + size]) for at in range(len(stems) - size + 1)) if stems else frozenset()


def _diverse(pieces: Sequence[Piece]) -> Iterator[Piece]:
    """Greedily the best, each further piece of a document at a discount."""
    left = list(pieces)
    taken: dict[str, int] = {}
    while left:
        best = max(left, key=lambda piece: piece.score * SAME_DOCUMENT ** taken.get(piece.chunk.document_id, 0))
        taken[best.chunk.document_id] = taken.get(best.chunk.document_id, 0) + 1
        left.remove(best)
        yield best


def _within(budget: int, pieces: Iterable[Piece]) -> list[Piece]:
    """Pieces that fit; the first one always does, cut if it must be."""
    kept: list[Piece] = []
    for piece in pieces:
        cost = _tokens(piece)
        if cost <= budget:
            kept.append(piece)
            budget -= cost
        elif not kept:
            kept.append(_cut_to(piece, budget))
            budget = 0
    return kept


def _tokens(piece: Piece) -> int:
    return count_tokens(piece.text) + (0 if _has_words(piece) else _WORDLESS_TOKENS)


def _cut_to(piece: Piece, budget: int) -> Piece:
    """The beginning of a quotation that is longer than the whole budget."""
    if not _has_words(piece):
        return piece
    ends = [word.end for word in words(piece.text)]
    share = budget / max(_tokens(piece), 1)
    end = ends[max(0, math.floor(share * len(ends)) - 1)] if ends else len(piece.text)
    offset = piece.chunk.text.find(piece.text)
    return cut(piece.chunk, offset, offset + end, piece)
