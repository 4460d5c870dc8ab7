"""How relevant a chunk is to a query, 0 to 1: a logistic model of a few signals, with weights for each channel.

::

    logit(relevance) = LATE·late + DENSE·dense + WORDS·words + BIAS - OTHER_KIND·other_kind

late
    MaxSim: the weighted mean over the query's parts of their best match among the chunk's parts (``late_interaction``).
dense
    The best cosine of the query's vectors with the chunk's: what the whole is about.
words
    The share of the query's exact words that the chunk's text holds, rare words counting more: numbers, names and codes
    mean little to an encoder.
other_kind
    1 where the question names a kind of answer that the chunk is not: "which photo …", "what do you hear …".

What a channel scores against queries that it has nothing to do with differs by encoder; its own weights and ``BIAS``
take that away, so that no modality wins because of its encoder. The estimate is comparable between channels and between
queries: refine and generate can tell weak evidence from strong.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from schemas.chunks import Channel, Chunk
from schemas.media import Modality
from workers.words import asked, content


@dataclass(frozen=True, slots=True)
class Weights:
    """Of one channel."""

    late: float
    dense: float
    words: float
    bias: float


_WRITTEN = Weights(late=4.2, dense=4.7, words=3.6, bias=-6.4)
WEIGHTS = {
    Channel.TEXT: _WRITTEN,
    Channel.SPEECH: _WRITTEN,
    Channel.PICTURE: Weights(late=0.4, dense=2.5, words=2.0, bias=-2.6),
    Channel.SOUND: Weights(late=1.6, dense=1.7, words=2.6, bias=-4.3),
}
"""Logistic regression, L2 0.3, on the first 40 candidates of 263 queries to 347 chunks of the ``local`` profile: 207
captions of photographs and sounds, 42 questions to passages, 14 questions that nothing answers. Fitted on one half,
the mean reciprocal rank in the other half rose from .47 (first stage) to .56 for photographs, and stayed at 1 for
passages. Late interaction says little about pictures in that profile, whose regions are mixtures of class names."""

OTHER_KIND = 1.0
"""A preference: it decides between the photograph of a dog and its bark, and leaves a passage that surely answers where
it is. It is taken away from the others rather than given to what is asked for: no photograph becomes relevant because
any photograph was asked for."""

_KINDS = (
    (re.compile(r"\b(?:picture|photo|photograph|image)s?\b", re.I), {Channel.PICTURE, Channel.TEXT}, {Modality.IMAGE}),
    (re.compile(r"\b(?:video|film|clip|scene|shot|footage)s?\b", re.I), set(Channel), {Modality.VIDEO}),
    (re.compile(r"\b(?:sounds?|noises?)\b", re.I), {Channel.SOUND}, set(Modality)),
    (re.compile(r"\b(?:hear|heard|audible)\b", re.I), {Channel.SOUND, Channel.SPEECH}, set(Modality)),
    (re.compile(r"\b(?:said|speaks?|spoken|spoke|voice)\b", re.I), {Channel.SPEECH}, set(Modality)),
)


@dataclass(frozen=True, slots=True)
class Signals:
    """Of a chunk, for a query. ``late`` is NaN without parts, ``words`` is NaN for a query without words."""

    channel: Channel
    late: float
    dense: float
    words: float
    other_kind: bool = False


def relevance(signals: Signals) -> float:
    """The estimate, 0 to 1. A missing ``late`` counts as ``dense`` does, missing ``words`` as half of them."""
    weights = WEIGHTS[signals.channel]
    late = signals.dense if math.isnan(signals.late) else signals.late
    words = 0.5 if math.isnan(signals.words) else signals.words
    logit = weights.late * late + weights.dense * signals.dense + weights.words * words + weights.bias
    return 1 / (1 + math.exp(OTHER_KIND * signals.other_kind - logit))


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


def is_other_kind(question: str, chunk: Chunk) -> bool:
    """Whether the question names kinds of answer, and the chunk is of none of them."""
    named = [(channels, modalities) for asks, channels, modalities in _KINDS if asks.search(question)]
    return bool(named) and not any(
        chunk.channel in channels and chunk.modality in modalities for channels, modalities in named
    )
