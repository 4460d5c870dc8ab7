"""The words that BM25 compares, folded the same way when they are written and when they are asked.

Milvus's analyzers and milvus-lite's differ (lite splits at non-word characters, lowers case, and knows no stemmer), so
the folding is done here and both only split at spaces.
"""

from __future__ import annotations

import re
import unicodedata

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_SCRIPT_WITHOUT_SPACES = re.compile(r"[぀-ヿ㐀-䶿一-鿿豈-﫿가-힯฀-๿]+")

_STOP_LIST = """
a an and are as at be been but by can could did do does for from had has have he her him his how i if in into is it its
me my of on or our she should so some such than that the their them then there these they this to was we were what when
where which who whom whose why will with would you your please show tell find
"""
_STOP_WORDS = frozenset(_STOP_LIST.split())
"""English words that say nothing about what is sought."""


def folded(text: str) -> str:
    """The words of ``text`` for storing: compatibility forms and case undone, plurals singular, separated by spaces."""
    return " ".join(fold for word in _words(text) for fold in _folds(word))


def asked(text: str) -> str:
    """The words of a question, each once, without those that say nothing; all of them where none says anything."""
    words = _words(text)
    telling = [word for word in words if word not in _STOP_WORDS]
    return " ".join(dict.fromkeys(fold for word in telling or words for fold in _folds(word)))


def _words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def _folds(word: str) -> list[str]:
    """One form of a word, or its overlapping pairs where a script has no spaces (as Lucene's CJK analyzer)."""
    if len(word) > 2 and _SCRIPT_WITHOUT_SPACES.fullmatch(word):
        return [word[i : i + 2] for i in range(len(word) - 1)]
    return [_singular(_without_possessive(word))]


def _without_possessive(word: str) -> str:
    return re.sub(r"['’]s?", "", word)


def _singular(word: str) -> str:
    """Harman's S stemmer (How effective is suffixing?, JASIS 1991): only English plurals, so it rarely does harm."""
    if len(word) <= 3 or not word.endswith("s"):
        return word
    if word.endswith("ies") and not word.endswith(("eies", "aies")):
        return word[:-3] + "y"
    if word.endswith("es") and not word.endswith(("aes", "ees", "oes")):
        return word[:-1]
    return word if word.endswith(("us", "ss")) else word[:-1]
