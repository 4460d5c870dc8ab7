"""Late interaction: every part of a query against every part of a chunk, the best match of each counts (MaxSim).

ColBERT (Khattab and Zaharia 2020, arXiv 2004.12832) does it with the tokens of a text, ColPali (Faysse et al. 2024,
arXiv 2407.01449) with the patches of a page. Here the parts of a query (tokens, regions, windows) meet those of
passages, OCR, transcripts, pictures and sounds in one space.

In: unit vectors. Out: similarities, NaN where a chunk has no parts. All chunks are compared in a few matrix products of
bounded size, so 500 chunks of 256 parts cost 0.1 s and 64 MiB on two cores, whatever the chunks look like.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from workers.models.base import Floats, Parts

MAX_QUERY_PARTS = 96
"""A question has about 10 tokens; a page as a query has hundreds: the weightiest are kept."""
_PARTS_AT_ONCE = 16_384
"""Parts in one matrix product: 16,384 × 384 floats are 24 MiB."""


def weightiest(vectors: Floats, weights: Floats, most: int = MAX_QUERY_PARTS) -> tuple[Floats, Floats]:
    """The ``most`` parts with the greatest weight, in their order: ``(n, d)`` and ``(n,)``, weights summing to 1.

    Parts without weight are left out. With nothing left, both are empty.
    """
    order = np.sort(np.argsort(-weights, kind="stable")[:most])
    kept = order[weights[order] > 0]
    total = float(weights[kept].sum())
    return vectors[kept].astype(np.float32), (weights[kept] / total if total else weights[kept]).astype(np.float32)


def max_similarities(query: Floats, chunks: Sequence[Parts]) -> Floats:
    """``(len(chunks), n)``: for each chunk and each of the ``n`` query parts ``(n, d)``, the best match in the chunk.

    A row of NaN where a chunk has no parts.
    """
    best = np.full((len(chunks), len(query)), np.nan, dtype=np.float32)
    if not len(query):
        return best
    for numbers in _blocks([len(chunk.vectors) for chunk in chunks]):
        stacked = np.concatenate([chunks[number].vectors for number in numbers]).astype(np.float32, copy=False)
        starts = np.cumsum([0, *(len(chunks[number].vectors) for number in numbers)])[:-1]
        best[numbers] = np.maximum.reduceat(stacked @ query.T, starts, axis=0)
    return best


def similarities(query: Floats, chunk: Parts) -> Floats:
    """``(n, m)``: each of ``n`` query parts with each of ``m`` parts of one chunk, which may have none."""
    if not len(chunk.vectors):
        return np.zeros((len(query), 0), dtype=np.float32)
    return query @ chunk.vectors.astype(np.float32, copy=False).T


def late_scores(query: Floats, weights: Floats, chunks: Sequence[Parts]) -> Floats:
    """``(len(chunks),)``: the weighted mean over the query's parts of their best matches, -1 to 1, or NaN."""
    if not len(query):
        return np.full(len(chunks), np.nan, dtype=np.float32)
    return max_similarities(query, chunks) @ weights


def _blocks(sizes: Sequence[int]) -> Iterator[list[int]]:
    """Numbers of the chunks with parts, in groups of bounded size."""
    block: list[int] = []
    total = 0
    for number, size in enumerate(sizes):
        if not size:
            continue
        if block and total + size > _PARTS_AT_ONCE:
            yield block
            block, total = [], 0
        block.append(number)
        total += size
    if block:
        yield block
