"""MaxSim against the plain definition, at its edges, and at a size that must be split."""

from __future__ import annotations

import numpy as np

from workers.late_interaction import late_scores, max_similarities, similarities, weightiest
from workers.models.base import Floats, Parts

RANDOM = np.random.default_rng(7)


def rows(count: int, size: int = 8) -> Floats:
    vectors = RANDOM.standard_normal((count, size)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def parts(vectors: Floats) -> Parts:
    return Parts(vectors, np.zeros((len(vectors), 4), np.int32), np.ones(len(vectors), np.float32))


def test_is_the_mean_of_the_best_matches() -> None:
    query, weights = rows(3), np.array([0.5, 0.25, 0.25], np.float32)
    chunks = [parts(rows(count)) for count in (1, 5, 2)]
    expected = [
        sum(w * max(q @ p for p in chunk.vectors) for q, w in zip(query, weights, strict=True)) for chunk in chunks
    ]
    assert np.allclose(late_scores(query, weights, chunks), expected, atol=1e-6)


def test_a_chunk_without_parts_is_not_a_number_and_disturbs_no_neighbour() -> None:
    query, empty, full = rows(2), parts(rows(0)), parts(rows(4))
    scores = max_similarities(query, [empty, full, empty, full, empty])
    assert np.isnan(scores[[0, 2, 4]]).all()
    assert np.allclose(scores[1], similarities(query, full).max(axis=1))
    assert np.array_equal(scores[1], scores[3])


def test_nothing_asked_and_nothing_found() -> None:
    assert np.isnan(late_scores(rows(0), np.zeros(0, np.float32), [parts(rows(3))])).all()
    assert late_scores(rows(2), np.full(2, 0.5, np.float32), []).shape == (0,)


def test_missing_parts_compare_with_nothing() -> None:
    missing = Parts(np.zeros((0, 0), np.float32), np.zeros((0, 4), np.int32), np.zeros(0, np.float32))
    assert similarities(rows(2), missing).shape == (2, 0)
    assert np.isnan(max_similarities(rows(2), [missing, parts(rows(1))])[0]).all()


def test_many_parts_are_compared_in_pieces_with_the_same_result() -> None:
    query, weights = rows(4), np.full(4, 0.25, np.float32)
    chunks = [parts(rows(9_000)) for _ in range(4)]
    one_by_one = [late_scores(query, weights, [chunk])[0] for chunk in chunks]
    assert np.allclose(late_scores(query, weights, chunks), one_by_one, atol=1e-6)


def test_half_precision_parts_are_compared_in_single() -> None:
    query, chunk = rows(2), rows(3)
    half = Parts(chunk.astype(np.float16), np.zeros((3, 4), np.int32), np.ones(3, np.float32))  # as stored
    assert np.allclose(max_similarities(query, [half]), max_similarities(query, [parts(chunk)]), atol=1e-3)


def test_the_weightiest_parts_are_kept_in_order_and_sum_to_one() -> None:
    vectors, weights = rows(4), np.array([0.1, 2.0, 0.0, 1.0], np.float32)
    kept, shares = weightiest(vectors, weights, most=2)
    assert np.array_equal(kept, vectors[[1, 3]])
    assert np.allclose(shares, [2 / 3, 1 / 3])
    assert len(weightiest(vectors, weights)[0]) == 3
    assert weightiest(vectors, np.zeros(4, np.float32))[0].shape == (0, 8)
