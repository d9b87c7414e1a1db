"""Similarity matrices: values, exact ties, blocks."""

import numpy as np
import pytest

from stages.score.functional import blocks, similarity


def embeddings(rows, dimensions=96, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, dimensions)).astype(np.float32)


def test_cosine_is_the_normalised_product():
    queries, items = embeddings(5), embeddings(7, seed=1)
    expected = [
        [q @ i / np.linalg.norm(q) / np.linalg.norm(i) for i in items.astype(float)] for q in queries.astype(float)
    ]
    result = similarity.cosine(queries, items)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, atol=1e-7)


def test_equal_rows_are_exactly_equally_similar():
    """Where in the matrix a repeated caption stands must not break its ties."""
    queries, items = embeddings(301), embeddings(203, seed=1)
    queries[[150, 300]] = queries[0]
    items[[77, 202]] = items[0]
    sims = similarity.cosine(queries, items)
    for repeat in (150, 300):
        np.testing.assert_array_equal(sims[repeat], sims[0])
    for repeat in (77, 202):
        np.testing.assert_array_equal(sims[:, repeat], sims[:, 0])


@pytest.mark.parametrize("rows", [1, 7, 64])
def test_blocks_have_the_bits_of_the_whole(rows):
    queries, items = embeddings(129), embeddings(50, seed=1)
    blocks = list(similarity.cosine_blocks(queries, items, max_rows=rows))
    assert max(len(block) for _, block in blocks) == rows
    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), similarity.cosine(queries, items))


def test_an_all_zero_embedding_is_similar_to_nothing():
    assert (similarity.cosine(np.zeros((1, 96), np.float32), embeddings(3)) == 0).all()


def test_no_rows_make_an_empty_matrix():
    assert similarity.cosine(embeddings(0), embeddings(3)).shape == (0, 3)
    assert similarity.cosine(embeddings(3), embeddings(0)).shape == (3, 0)


def test_embeddings_of_different_width_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 96\).*\(3, 8\)"):
        similarity.cosine(embeddings(2), embeddings(3, 8))


def test_fuse_is_the_weighted_mean_of_the_reference():
    vision, sound = embeddings(4, 6), embeddings(4, 6, seed=1)
    np.testing.assert_allclose(similarity.fuse([vision, sound], [1, 2.5]), (vision + 2.5 * sound) / 3.5, atol=1e-6)
    np.testing.assert_allclose(similarity.fuse([vision, sound]), (vision + sound) / 2, atol=1e-6)
    np.testing.assert_array_equal(similarity.fuse([vision, sound], [1, 0]), vision)


def test_fuse_in_blocks_is_the_same(monkeypatch):
    sims = [embeddings(9, 5, seed) for seed in range(3)]
    whole = similarity.fuse(sims, [0.2, 0.3, 0.9])
    monkeypatch.setattr(blocks, "CELLS_PER_BLOCK", 10)
    np.testing.assert_array_equal(similarity.fuse(sims, [0.2, 0.3, 0.9]), whole)


@pytest.mark.parametrize(
    ("count", "weights", "message"),
    [(0, None, "one shape"), (2, [1], "2 similarity matrices and 1"), (2, [1, -1], "more than 0")],
)
def test_fuse_refuses_what_it_cannot_weigh(count, weights, message):
    with pytest.raises(ValueError, match=message):
        similarity.fuse([embeddings(2, 2)] * count, weights)


def test_fuse_refuses_matrices_of_different_shape():
    with pytest.raises(ValueError, match=r"one shape"):
        similarity.fuse([embeddings(2, 2), embeddings(3, 2)])


def test_cosines_that_cancel_are_exactly_zero():
    rows = np.random.default_rng(0).integers(-2, 3, (300, 7)).astype(np.float32)
    cancelled = (rows @ rows.T) == 0  # exact: whole numbers
    assert cancelled.sum() > 5_000
    assert np.array_equal(similarity.cosine(rows, rows) == 0, cancelled)
