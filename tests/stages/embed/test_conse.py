"""The convex combination of class-name vectors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.embed.conse import combine

VECTORS = np.random.default_rng(0).standard_normal((12, 5)).astype(np.float32)
UNIT = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)


def test_is_the_weighted_mean_of_the_best_classes() -> None:
    scores = np.array([[0.1, 0.6, 0, 0.3] + [0.05] * 8], np.float32)
    expected = 0.6 * UNIT[1] + 0.3 * UNIT[3] + 0.1 * UNIT[0]
    np.testing.assert_allclose(combine(scores, VECTORS, 3)[0], expected / np.linalg.norm(expected), atol=1e-6)


def test_one_class_is_its_name() -> None:
    np.testing.assert_allclose(combine(np.eye(12, dtype=np.float32), VECTORS, 1), UNIT, atol=1e-6)


def test_length_of_class_vectors_does_not_matter() -> None:
    scores = np.random.default_rng(1).random((3, 12), np.float32)
    lengths = np.arange(1, 13, dtype=np.float32)[:, None]
    np.testing.assert_allclose(combine(scores, VECTORS * lengths, 4), combine(scores, VECTORS, 4), atol=1e-6)


def test_of_equal_scores_the_first_classes_win() -> None:
    np.testing.assert_array_equal(
        combine(np.ones((1, 12), np.float32), VECTORS, 2),
        combine(np.array([[1, 1] + [0] * 10], np.float32), VECTORS, 2),
    )


def test_scores_of_zero_are_a_finite_unit_vector() -> None:
    scores = np.zeros((2, 12), np.float32)
    scores[1, 4] = 1e-30
    rows = combine(scores, VECTORS, 10)
    assert np.isfinite(rows).all()
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(rows[1], UNIT[4], atol=1e-6)
    mean = UNIT.mean(axis=0)
    np.testing.assert_allclose(rows[0], mean / np.linalg.norm(mean), atol=1e-6)


def test_opposite_vectors_cancel_without_nan() -> None:
    opposite = np.array([[1, 0], [-1, 0]], np.float32)
    assert np.isfinite(combine(np.array([[0.5, 0.5], [0, 0]], np.float32), opposite, 2)).all()


def test_more_than_all_classes() -> None:
    scores = np.random.default_rng(2).random((2, 12), np.float32)
    np.testing.assert_array_equal(combine(scores, VECTORS, 99), combine(scores, VECTORS, 12))


def test_no_rows() -> None:
    assert combine(np.empty((0, 12), np.float32), VECTORS, 10).shape == (0, 5)


@pytest.mark.parametrize(
    ("scores", "top_k"),
    [
        (np.full((1, 12), np.nan, np.float32), 3),
        (np.full((1, 12), -1, np.float32), 3),
        (np.ones((1, 11), np.float32), 3),
        (np.ones(12, np.float32), 3),
        (np.ones((1, 12), np.float32), 0),
    ],
)
def test_bad_input_is_refused(scores: np.ndarray, top_k: int) -> None:
    with pytest.raises(ValueError, match=r"scores|top_k"):
        combine(scores, VECTORS, top_k)


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 6), top_k=st.integers(1, 15))
def test_rows_are_independent_and_of_length_one(seed: int, rows: int, top_k: int) -> None:
    scores = np.random.default_rng(seed).random((rows, 12), np.float32)
    together = combine(scores, VECTORS, top_k)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    for row in range(rows):
        np.testing.assert_array_equal(combine(scores[row : row + 1], VECTORS, top_k)[0], together[row])
