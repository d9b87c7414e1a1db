"""Metrics against brute force, and chance levels against all permutations."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from stages.score.functional import blocks, metrics, ranking
from stages.score.functional.graded import graded_scores

GRADES = st.sampled_from([0.0, 0.0, 0.0, 0.3, 0.5, 1.0])


def average_precision(*arguments):
    return graded_scores(*arguments).average_precision


def ndcg(*arguments):
    return graded_scores(*arguments).ndcg


@st.composite
def graded(draw, max_side=6):
    """Distinct similarities (no ties) and graded relevancies."""
    rows, columns = draw(array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=max_side))
    sims = [draw(st.permutations(range(columns))) for _ in range(rows)]
    return np.array(sims, np.float32), draw(arrays(float, (rows, columns), elements=GRADES))


def brute_force_ap(row, relevancy):
    ranked = [relevancy[item] for item in sorted(range(len(row)), key=lambda i: (-row[i], i))]
    answers = [rank for rank, grade in enumerate(ranked, 1) if grade == 1]
    return sum(sum(ranked[:rank]) / rank for rank in answers) / max(len(answers), 1)


def brute_force_ndcg(row, relevancy):
    ranked = [relevancy[item] for item in sorted(range(len(row)), key=lambda i: (-row[i], i))]
    top = sum(grade != 0 for grade in relevancy)

    def gain(grades):
        return sum(grade / np.log2(1 + rank) for rank, grade in enumerate(grades[:top], 1))

    return gain(ranked) / gain(sorted(ranked, reverse=True)) if top else np.nan


PER_QUERY = pytest.mark.parametrize(
    ("metric", "brute_force"),
    [(average_precision, brute_force_ap), (ndcg, brute_force_ndcg)],
    ids=["average_precision", "ndcg"],
)


@PER_QUERY
@given(case=graded(), tie=st.booleans())
def test_follows_the_definition_with_the_earlier_of_equals_first(metric, brute_force, case, tie):
    sims, relevancy = case
    if tie:
        sims = sims // 2
    expected = [brute_force(row, grades) for row, grades in zip(sims, relevancy, strict=True)]
    np.testing.assert_allclose(metric(sims, relevancy), expected, atol=1e-12)


@PER_QUERY
@given(case=graded(), data=st.data())
def test_shuffling_the_items_changes_nothing(metric, brute_force, case, data):
    sims, relevancy = case
    shuffled = data.draw(st.permutations(range(sims.shape[1])))
    np.testing.assert_array_equal(metric(sims[:, shuffled], relevancy[:, shuffled]), metric(sims, relevancy))


@PER_QUERY
@given(case=graded(), rows=st.integers(1, 3))
def test_blocks_give_the_same_bits(metric, brute_force, case, rows):
    sims, relevancy = case
    whole = metric(sims, relevancy)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "CELLS_PER_BLOCK", rows * sims.shape[1])
        np.testing.assert_array_equal(metric(sims, relevancy), whole)


@PER_QUERY
def test_blocks_of_a_large_matrix_give_the_same_bits(metric, brute_force, monkeypatch):
    rng = np.random.default_rng(0)
    sims = rng.standard_normal((211, 307)).astype(np.float32)
    relevancy = rng.choice([0, 0, 0, 0.25, 1], (211, 307))
    whole = metric(sims, relevancy)
    monkeypatch.setattr(blocks, "CELLS_PER_BLOCK", 13 * 307)
    np.testing.assert_array_equal(metric(sims, relevancy), whole)


@PER_QUERY
@given(case=graded())
def test_the_ideal_order_of_binary_relevancies_is_perfect(metric, brute_force, case):
    binary = (case[1] == 1).astype(float)
    perfect = metric(binary.astype(np.float32), binary)
    assert np.allclose(perfect[binary.any(axis=1)], 1)


def test_queries_with_nothing_relevant():
    sims, nothing = np.ones((1, 3), np.float32), np.zeros((1, 3))
    assert average_precision(sims, nothing) == 0
    assert np.isnan(ndcg(sims, nothing))
    assert average_precision(sims, np.full((1, 3), 0.5)) == 0


def test_fractional_relevancies_above_an_answer_raise_its_precision():
    sims = np.array([[3, 2, 1]], np.float32)
    assert average_precision(sims, np.array([[0, 1, 0]])) == 0.5
    assert average_precision(sims, np.array([[0.8, 1, 0]])) == 0.9


def test_a_perfect_ranking_scores_all_there_is():
    sims = np.eye(20, dtype=np.float32)
    ranks = ranking.ranks_of_best(sims, sims == 1)
    assert metrics.retrieval_metrics(ranks) == {
        "R@1": 100, "R@5": 100, "R@10": 100, "MedR": 1, "MeanR": 1, "n_queries": 20,
    }  # fmt: skip


def test_averaged_ties_follow_the_reference():
    """5.5 is a hit at 5; a shared first place, 1.5, is no hit at 1."""
    ranks = np.array([1, 1.5, 5.5, 6, 10.5, 11])
    assert metrics.recall_at(ranks, 1) == pytest.approx(100 / 6)
    assert metrics.recall_at(ranks, 5) == pytest.approx(300 / 6)
    assert metrics.recall_at(ranks, 10) == pytest.approx(500 / 6)


def test_queries_without_an_answer_are_left_out():
    values = metrics.retrieval_metrics(np.array([1, np.nan, 3]), ks=(1,))
    assert values == {"R@1": 50, "MedR": 2, "MeanR": 2, "n_queries": 2}
    nothing = metrics.retrieval_metrics(np.array([np.nan]))
    assert nothing.pop("n_queries") == 0 and np.isnan(list(nothing.values())).all()


def all_rankings(n_items):
    return np.array(list(itertools.permutations(range(n_items))), np.float32)


@pytest.mark.parametrize("n_items", [1, 2, 5, 6])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_chance_is_the_mean_over_all_rankings(n_items, share):
    count = max(1, round(share * n_items))
    sims = all_rankings(n_items)
    relevancy = np.broadcast_to(np.arange(n_items) < count, sims.shape).astype(float)
    ranks = ranking.ranks_of_best(sims, relevancy == 1)
    values = metrics.chance(np.array([count, count]), n_items)
    for k in (1, 5, 10):
        assert values[f"R@{k}"] == pytest.approx(metrics.recall_at(ranks, k))
    assert values["MedR"] == metrics.median_rank(ranks)
    assert values["MeanR"] == pytest.approx(metrics.mean_rank(ranks))
    assert values["mAP"] == pytest.approx(average_precision(sims, relevancy).mean())
    assert values["nDCG"] == pytest.approx(ndcg(sims, relevancy).mean())


def test_chance_of_graded_relevancies_is_the_mean_over_all_rankings():
    grades = np.array([[1, 0.5, 0, 1, 0.2], [0.5, 0.5, 0, 0, 0.1], [0, 0, 0, 0, 1]])
    values = metrics.chance((grades == 1).sum(axis=1), 5, grades)
    sims = all_rankings(5)
    each = [np.broadcast_to(row, sims.shape) for row in grades]
    assert values["mAP"] == pytest.approx(np.mean([average_precision(sims, row) for row in each]))
    assert values["nDCG"] == pytest.approx(np.mean([ndcg(sims, row) for row in each]))


def test_chance_over_unequal_queries_is_the_mean_over_all_rankings():
    """The median is that of all ranks of all queries; a query without an answer has no rank."""
    sims = all_rankings(6)
    counts = np.array([1, 3, 0, 1, 6])
    relevancies = [np.broadcast_to(np.arange(6) < c, sims.shape).astype(float) for c in counts]
    ranks = np.concatenate([ranking.ranks_of_best(sims, row == 1) for row in relevancies])
    values = metrics.chance(counts, 6)
    assert values["MedR"] == metrics.median_rank(ranks)
    assert values["R@1"] == pytest.approx(metrics.recall_at(ranks, 1))
    assert values["mAP"] == pytest.approx(np.mean([average_precision(sims, row) for row in relevancies]))
    assert values["nDCG"] == pytest.approx(np.nanmean([ndcg(sims, row) for row in relevancies]))


def test_chance_of_one_answer_among_many():
    values = metrics.chance(np.ones(1000, int), 1000)
    assert values["R@1"] == pytest.approx(0.1) and values["R@10"] == pytest.approx(1)
    assert values["MedR"] == values["MeanR"] == 500.5
    assert metrics.chance(np.ones(3, int), 100_001)["MedR"] == 50_001


def test_chance_of_no_queries_is_nan():
    assert np.isnan(list(metrics.chance(np.array([], int), 5).values())).all()
    assert metrics.chance(np.array([0, 0]), 5)["mAP"] == 0


@pytest.mark.parametrize("shape", [(0, 0), (0, 4), (2, 0)])
@pytest.mark.filterwarnings("error")
def test_nothing_to_rank_scores_nothing(shape):
    sims = np.zeros(shape, np.float32)
    ranks = ranking.ranks_of_best(sims, sims == 1)
    assert np.isnan(ranks).all() and len(ranks) == shape[0]
    assert average_precision(sims, sims).tolist() == [0] * shape[0]
    assert np.isnan(ndcg(sims, sims)).all()
    assert metrics.retrieval_metrics(ranks)["n_queries"] == 0
    assert np.isnan(metrics.chance(np.zeros(shape[0], int), shape[1])["R@1"])


def test_chance_refuses_more_answers_than_items():
    with pytest.raises(ValueError, match=r"0 to 3 answers.*from 1 to 4"):
        metrics.chance(np.array([1, 4]), 3)


def test_scoring_imports_nothing_but_numpy():
    """Scoring stages are many and must start fast."""
    code = (
        "import sys; from stages.score.functional import graded, metrics, transforms, uncertainty; "
        "print(*{'torch', 'polars', 'pandas', 'scipy', 'dask'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""
