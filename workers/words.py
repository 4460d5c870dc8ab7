"""Words as they are compared: lower case, without accents and endings, stop words apart.

In: any text. Out: stems, in order. Shared by rerank, refine and generate, so that "the exact words of the question"
means the same in all three. English endings and stop words; words of other languages are compared as they are written.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_STOP_LIST = """
a about above after again against all also am an and any are as at be because been before being below between both
but by can could did do does doing done down during each few for from further had has have having he her here hers
herself him himself his how i if in into is it its itself just may me might more most must my myself no nor not now
of off on once only or other our ours out over own s same shall she should so some such t than that the their theirs
them then there these they this those through to too under until up upon very was we were what when where which
while who whom whose why will with would you your yours don doesn didn isn aren wasn weren
"""
STOP_WORDS = frozenset(_STOP_LIST.split())
_ASKING_LIST = """
picture image photo photograph video film clip sound audio recording show shown see seen find hear heard tell say said
"""
ASKING = frozenset(_ASKING_LIST.split())
"""Words that say which kind of answer is wanted; that evidence lacks them speaks neither for nor against it."""

_WORD = re.compile(r"\d+(?:[.,:]\d+)*|\w+", re.UNICODE)
_ENDINGS = (("ies", "y"), ("sses", "ss"), ("ing", ""), ("ed", ""), ("es", ""), ("s", ""), ("ly", ""), ("e", ""))
_SHORTEST_STEM = 3


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a text: its stem, and where it stands."""

    stem: str
    start: int
    end: int


def words(text: str) -> Iterator[Word]:
    """All words of ``text``, stop words too; numbers stay whole (``1,284.50``, ``06:00``)."""
    for found in _WORD.finditer(text):
        yield Word(stem(found.group()), found.start(), found.end())


def content(text: str) -> list[str]:
    """The stems of ``text`` that carry meaning, in order."""
    return [stem(found.group()) for found in _WORD.finditer(text) if found.group().lower() not in STOP_WORDS]


def asked(question: str) -> frozenset[str]:
    """The stems that an answer to ``question`` is expected to hold."""
    stems = frozenset(content(question))
    return stems - _ASKING_STEMS or stems


def stem(word: str) -> str:
    """``word`` folded: ``Batteries`` and ``battery`` give ``battery``, ``kept`` stays ``kept``."""
    folded = unicodedata.normalize("NFKD", word.lower())
    plain = "".join(letter for letter in folded if not unicodedata.combining(letter))
    if not plain.isascii() or not plain.isalpha():
        return plain.rstrip("_")
    for ending, instead in () if plain.endswith("ss") else _ENDINGS:
        if plain.endswith(ending) and len(plain) - len(ending) >= _SHORTEST_STEM:
            return _undoubled(plain[: -len(ending)] + instead)
    return plain


def coverage(wanted: Iterable[str], found: Iterable[str]) -> float:
    """The share of ``wanted`` that is among ``found``, 0 to 1; 0 where nothing is wanted."""
    needed = set(wanted)
    return len(needed & set(found)) / len(needed) if needed else 0.0


def _undoubled(stemmed: str) -> str:
    """``stopp`` and ``stop`` are one stem, ``fall`` stays."""
    doubled = len(stemmed) > _SHORTEST_STEM and stemmed[-1] == stemmed[-2] and stemmed[-1] not in "aeiouls"
    return stemmed[:-1] if doubled else stemmed


_ASKING_STEMS = frozenset(stem(word) for word in ASKING)
