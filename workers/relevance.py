"""How relevant a chunk is to a query, 0 to 1: three signals weighed by a logistic model.

::

    logit(relevance) = LATE·late + DENSE·dense + WORDS·words + BIAS[channel]

late
    MaxSim: the weighted mean over the query's parts of their best match among the chunk's parts (``late_interaction``).
dense
    The best cosine of the query's vectors with the chunk's: what the whole is about.
words
    The share of the question's exact words that the chunk's text holds, rare words counting more: numbers, names and
    codes mean nothing to an encoder.

``BIAS`` takes away what a channel scores against queries that it has nothing to do with, so that no modality wins
because of its encoder. The score is comparable between queries: refine and generate can tell weak evidence from strong.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from schemas.chunks import Channel
from workers.words import asked, content

LATE, DENSE, WORDS = 4.8, 5.8, 3.4
BIAS = {Channel.TEXT: -6.7, Channel.SPEECH: -6.7, Channel.PICTURE: -6.7, Channel.SOUND: -6.7}


@dataclass(frozen=True, slots=True)
class Signals:
    """Of a chunk, for a query. ``late`` is NaN without parts, ``words`` is NaN for a query without words."""

    channel: Channel
    late: float
    dense: float
    words: float


def relevance(signals: Signals) -> float:
    """The estimate, 0 to 1. A missing ``late`` counts as ``dense`` does, missing ``words`` as half of them."""
    late = signals.dense if math.isnan(signals.late) else signals.late
    words = 0.5 if math.isnan(signals.words) else signals.words
    logit = LATE * late + DENSE * signals.dense + WORDS * words + BIAS[signals.channel]
    return 1 / (1 + math.exp(-logit))


def word_scores(question: str, texts: Sequence[str]) -> list[float]:
    """For each text the share, 0 to 1, of the question's words that it holds; NaN for a question without words.

    A word counts by how few of the texts hold it (as BM25's idf, here among the candidates alone).
    """
    wanted = asked(question) if question.strip() else frozenset()
    if not wanted:
        return [math.nan] * len(texts)
    held = [wanted & set(content(text)) for text in texts]
    frequency = Counter(word for words in held for word in words)
    weight = {word: math.log((len(texts) + 1) / (frequency[word] + 0.5)) for word in wanted}
    total = sum(weight.values())
    return [sum(weight[word] for word in words) / total for words in held]
