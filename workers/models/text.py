"""The local text encoder: MiniLM-L6, 384 dimensions, mean pooling (Reimers & Gurevych 2019, arXiv 1908.10084).

Texts are put into batches by length, so that little is computed for padding; the vectors of the tokens, which the mean
is taken of, are kept as parts for late interaction.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from tokenizers import Encoding, Tokenizer

from workers.models import weights
from workers.models.base import Embedding, Floats, Parts
from workers.models.bert import load_bert
from workers.words import STOP_WORDS

MAX_TOKENS = 256
MAX_BATCH = 32
MAX_PADDED = 1.08
"""A batch is closed before padding makes it this much larger than its tokens."""

STOP_WEIGHT = 0.15
"""How much a stop word or a punctuation mark counts in late interaction, where other tokens count 1."""

SPECIAL = 2
"""``[CLS]`` before and ``[SEP]`` after the tokens of a text."""


class LocalTextEncoder:
    """Words into the unified space, which is this encoder's space. ``padded_tokens / real_tokens`` is its waste."""

    name = "minilm-l6"
    dimension = 384

    def __init__(self, threads: int) -> None:
        torch.set_num_threads(threads)
        self._tokenizer = Tokenizer.from_file(str(weights.MINILM_TOKENIZER.verified()))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._model = load_bert(weights.MINILM.verified())
        self.padded_tokens = 0
        self.real_tokens = 0

    def encode(self, texts: Sequence[str]) -> list[Embedding]:
        """One embedding a text; tokens beyond 256 are cut. Raises ``ValueError`` for an empty text."""
        if not all(text.strip() for text in texts):
            raise ValueError("an empty text has no vector")
        encodings = self._tokenizer.encode_batch(list(texts))
        found: dict[int, Embedding] = {}
        for batch in _batches(encodings):
            hidden = self._hidden([encodings[index] for index in batch])
            for row, index in zip(hidden, batch, strict=True):
                found[index] = _embedding(row, encodings[index], texts[index])
        return [found[index] for index in range(len(texts))]

    def _hidden(self, batch: Sequence[Encoding]) -> Floats:
        """``(b, t, 384)`` token vectors of one padded batch."""
        length = max(len(encoding) for encoding in batch)
        ids = np.zeros((len(batch), length), dtype=np.int64)
        mask = np.zeros((len(batch), length), dtype=bool)
        for row, encoding in enumerate(batch):
            ids[row, : len(encoding)] = encoding.ids
            mask[row, : len(encoding)] = True
        self.padded_tokens += mask.size
        self.real_tokens += int(mask.sum())
        with torch.inference_mode():
            hidden = self._model(torch.from_numpy(ids), None if mask.all() else torch.from_numpy(mask))
        result: Floats = hidden.numpy()
        return result


def _batches(encodings: Sequence[Encoding]) -> Iterator[list[int]]:
    """Indices of texts of similar length."""
    batch: list[int] = []
    tokens = 0
    for index in sorted(range(len(encodings)), key=lambda index: len(encodings[index])):
        length = len(encodings[index])
        padded = (len(batch) + 1) * length
        if batch and (len(batch) == MAX_BATCH or padded > MAX_PADDED * (tokens + length)):
            yield batch
            batch, tokens = [], 0
        batch.append(index)
        tokens += length
    if batch:
        yield batch


def _embedding(hidden: Floats, encoding: Encoding, text: str) -> Embedding:
    """The mean of all tokens, and the tokens themselves without the special ones."""
    rows = hidden[: len(encoding)]
    vector = rows.mean(axis=0)
    tokens = rows[1:-1] if len(encoding) > SPECIAL else rows
    spans = encoding.offsets[1:-1] if len(encoding) > SPECIAL else [(0, len(text))] * len(encoding)
    places = np.zeros((len(tokens), 4), dtype=np.int32)
    places[:, :2] = spans
    counted = np.array([_weight(text[start:end]) for start, end in spans], dtype=np.float32)
    unit = tokens / np.linalg.norm(tokens, axis=1, keepdims=True)
    return Embedding(vector / np.linalg.norm(vector), Parts(unit, places, counted))


def _weight(token: str) -> float:
    word = token.lower().strip(string.punctuation)
    return STOP_WEIGHT if not word or word in STOP_WORDS else 1.0
