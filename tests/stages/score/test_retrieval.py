"""Ranks block by block are those of the dense matrix, bit for bit, whatever the rows and the size of blocks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.errors import UserError
from stages.score.functional.similarity import cosine, dot_product, fuse
from stages.score.items import Items, Measure, Pairs, StoredRows
from stages.score.retrieval import Retrieval


@st.composite
def rows(draw, generator, n, dim):
    """Embeddings with exact ties: small integers, copies, zero rows."""
    kind = draw(st.sampled_from(["integers", "eighths", "copies", "normal", "long"]))
    values = {
        "integers": lambda: generator.integers(-1, 2, (n, dim)),
        "eighths": lambda: generator.integers(-4, 5, (n, dim)) / 8,
        "copies": lambda: generator.standard_normal((n, dim))[generator.integers(0, 1 + n // 4, n)],
        "normal": lambda: generator.standard_normal((n, dim)),
        "long": lambda: 30 * generator.standard_normal((n, dim)) + 10,
    }[kind]()
    values = values.astype(draw(st.sampled_from([np.float16, np.float32])))
    values[generator.random(n) < draw(st.sampled_from([0, 0.2]))] = 0
    return values


@st.composite
def retrievals(draw):
    """Queries, gallery, how they are compared, and which of them belong together."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_queries, n_items = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    measure = Measure(draw(st.booleans()), tuple(draw(st.sampled_from([[1.0], [1.0, 1.0], [0.3, 2.0]]))))
    dims = [draw(st.integers(1, 40)) for _ in measure.weights]
    queries, items = ([draw(rows(generator, n, dim)) for dim in dims] for n in (n_queries, n_items))
    paired = generator.random((n_queries, n_items)) < draw(st.sampled_from([0.02, 0.1, 0.6]))
    paired[np.arange(n_queries), generator.integers(0, n_items, n_queries)] = True
    return queries, items, measure, paired


def opened(queries, items, measure, paired):
    sides = [Items([[StoredRows(part)] for part in parts]) for parts in (queries, items)]
    return Retrieval(*sides, measure, Pairs.of(*np.nonzero(paired)))


def in_blocks(monkeypatch, *given_retrieval, rows_at_a_time=None):
    monkeypatch.setenv("HEARONCE_SCORE_MEMORY", "1e-9")
    retrieval = opened(*given_retrieval)
    monkeypatch.delenv("HEARONCE_SCORE_MEMORY")
    assert retrieval._sims is None
    return retrieval


def assert_same(one, other):
    assert np.array_equal(one.queries, other.queries) and np.array_equal(one.n_answers, other.n_answers)
    assert one.n_items == other.n_items
    for ties in ("mean", "optimistic", "pessimistic"):
        assert np.array_equal(one.ranks(ties), other.ranks(ties))
    assert (one.graded is None) == (other.graded is None)
    if one.graded is not None:
        assert np.array_equal(one.graded.average_precision, other.graded.average_precision)
        assert np.array_equal(one.graded.ndcg, other.graded.ndcg)


def assert_blocks_are_dense(monkeypatch, given_retrieval, graded=True, queries=None, items=None):
    dense = opened(*given_retrieval)
    blocks = in_blocks(monkeypatch, *given_retrieval)
    shape = given_retrieval[3].shape
    queries = np.ones(shape[0], bool) if queries is None else queries
    items = np.ones(shape[1], bool) if items is None else items
    both = dense.ranked(queries, items, graded), blocks.ranked(queries, items, graded)
    for one, other in zip(*both, strict=True):
        assert_same(one, other)
    return dense, blocks, both[0]


@given(retrievals(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_ranks_in_blocks_are_those_of_the_dense_matrix(retrieval, graded):
    with pytest.MonkeyPatch.context() as patch:
        assert_blocks_are_dense(patch, retrieval, graded)


@given(retrievals(), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_so_are_those_of_a_subset(retrieval, seed):
    items = np.random.default_rng(seed).random(retrieval[3].shape[1]) < 0.5
    queries = retrieval[3][:, items].any(axis=1)
    if queries.any():
        with pytest.MonkeyPatch.context() as patch:
            assert_blocks_are_dense(patch, retrieval, True, queries, items)


@given(retrievals())
@settings(max_examples=60, deadline=None)
def test_examples_and_heatmap_are_the_same_in_blocks(retrieval):
    with pytest.MonkeyPatch.context() as patch:
        dense, blocks, (forward, _) = assert_blocks_are_dense(patch, retrieval)
    n_queries, n_items = retrieval[3].shape
    texts, names = [f"text {i}" for i in range(n_queries)], [f"clip {i}" for i in range(n_items)]
    ranks = forward.ranks()
    assert dense.best_and_worst(ranks, texts, names) == blocks.best_and_worst(ranks, texts, names)
    for name, array in dense.heatmap(texts, names).items():
        assert np.array_equal(array, blocks.heatmap(texts, names)[name])


def test_the_dense_matrix_is_the_one_of_the_functions(monkeypatch):
    generator = np.random.default_rng(5)
    parts = [[generator.standard_normal((n, dim)).astype(np.float32) for dim in (8, 5)] for n in (20, 30)]
    for measure, product in ((Measure(True, (1.0, 2.0)), cosine), (Measure(False, (1.0, 2.0)), dot_product)):
        sims = fuse([product(a, b) for a, b in zip(*parts, strict=True)], measure.weights)
        paired = np.eye(20, 30, dtype=bool)
        retrieval = opened(*parts, measure, paired)
        assert np.array_equal(retrieval._sims, sims)
        sides = [Items([[StoredRows(part)] for part in side]) for side in parts]
        pairs = Pairs.of(*np.nonzero(paired))
        assert np.array_equal(measure.of_pairs(*sides, pairs), sims[paired])


def test_masses_of_exact_ties_and_of_answers_stay_exact(monkeypatch):
    generator = np.random.default_rng(2)
    left = generator.standard_normal((40, 16)).astype(np.float32)[generator.integers(0, 3, 400)]
    right = np.concatenate([left[:200], generator.standard_normal((3000, 16)).astype(np.float32)])
    paired = generator.random((400, 3200)) < 0.01
    paired[np.arange(400), np.arange(400)] = True
    assert_blocks_are_dense(monkeypatch, ([left], [right], Measure(), paired))
    assert_blocks_are_dense(monkeypatch, ([right], [left], Measure(), paired.T | np.eye(3200, 400, dtype=bool)))


@pytest.mark.parametrize("scale", [1e-30, 1e18])
def test_lengths_that_float32_products_cannot_hold(scale, monkeypatch):
    generator = np.random.default_rng(3)
    left, right = ((scale * generator.standard_normal((n, 8))).astype(np.float32) for n in (20, 30))
    paired = generator.random((20, 30)) < 0.1
    paired[:, 0] = True
    assert_blocks_are_dense(monkeypatch, ([left], [right], Measure(cosine=False), paired))


def test_similarities_beyond_float32_are_an_error_either_way(monkeypatch):
    items, pairs = Items([[StoredRows(np.full((3, 4), 1e20, np.float32))]]), Pairs.of(np.arange(3), np.arange(3))
    everything = np.ones(3, bool)
    for memory in ("1", "1e-9"):
        monkeypatch.setenv("HEARONCE_SCORE_MEMORY", memory)
        with pytest.raises(UserError, match="too large for float32"):
            Retrieval(items, items, Measure(cosine=False), pairs).ranked(everything, everything)


def test_broken_embeddings_are_named_in_blocks_as_well(monkeypatch):
    values = np.ones((3, 4), np.float32)
    values[1] = np.nan
    for memory in ("1", "1e-9"):
        monkeypatch.setenv("HEARONCE_SCORE_MEMORY", memory)
        items, pairs = [Items([[StoredRows(one)]]) for one in (np.ones((2, 4)), values)], Pairs.of([0, 1], [0, 0])
        with pytest.raises(ValueError, match="hold nan"):
            Retrieval(*items, Measure(), pairs).ranked(np.ones(2, bool), np.ones(3, bool))
