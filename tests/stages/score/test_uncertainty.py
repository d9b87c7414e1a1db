"""Intervals against theory, the paired test against all sign flips."""

import itertools

import numpy as np
import pytest

from stages.score.functional import blocks
from stages.score.functional.uncertainty import bootstrap, interval, paired_permutation_test, resampled

VALUES = np.random.default_rng(0).exponential(size=401)


def test_the_interval_of_a_mean_is_about_two_standard_errors_wide():
    result = bootstrap(VALUES, n_resamples=4000)
    error = VALUES.std() / np.sqrt(len(VALUES))
    assert result.value == VALUES.mean()
    assert result.low == pytest.approx(VALUES.mean() - 1.96 * error, abs=0.2 * error)
    assert result.high == pytest.approx(VALUES.mean() + 1.96 * error, abs=0.2 * error)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(1)
    covered = 0
    for seed in range(300):
        found = bootstrap(rng.normal(3, 1, 60), n_resamples=300, seed=seed, level=0.8)
        covered += found.low <= 3 <= found.high
    assert 0.72 < covered / 300 < 0.86


@pytest.mark.parametrize("n", [1, 2, 7, 40, 401])
def test_medians_of_resamples_are_medians(n):
    """The same draws give the ranks 0..n-1 of what was drawn."""
    values = np.random.default_rng(n).permutation(np.arange(n) // 2 * 1.0)
    medians = resampled(values, "median", 50)
    in_order = np.sort(values)
    drawn = np.random.default_rng(0).integers(0, n, (50, n), dtype=np.int32)
    np.testing.assert_array_equal(medians, np.median(in_order[drawn], axis=1))


def test_metrics_side_by_side_share_their_draws():
    both = resampled(np.stack([VALUES, 2 * VALUES], axis=1), n_resamples=30)
    assert both.shape == (30, 2)
    np.testing.assert_allclose(both[:, 1], 2 * both[:, 0], rtol=1e-12)
    np.testing.assert_allclose(both[:, 0], resampled(VALUES, n_resamples=30), rtol=1e-12)


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_seeds_decide_and_blocks_do_not(statistic, monkeypatch):
    whole = resampled(VALUES, statistic, 20, seed=3)
    assert (resampled(VALUES, statistic, 20, seed=4) != whole).any()
    monkeypatch.setattr(blocks, "CELLS_PER_BLOCK", 3 * len(VALUES))
    np.testing.assert_array_equal(resampled(VALUES, statistic, 20, seed=3), whole)


def test_unscored_queries_are_left_out():
    assert bootstrap(np.append(VALUES, [np.nan] * 50)) == bootstrap(VALUES)
    assert np.isnan(bootstrap(np.array([np.nan])).value)


def test_equal_values_have_an_interval_of_no_width():
    assert bootstrap(np.full(9, 2.0), "median") == interval(2.0, np.full(5, 2.0))


def every_flip(differences):
    observed = abs(sum(differences))
    sums = [abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
            for signs in itertools.product((-1, 1), repeat=len(differences))]  # fmt: skip
    return np.mean([one >= observed - 1e-12 for one in sums])


@pytest.mark.parametrize("seed", range(5))
def test_few_queries_are_tested_over_every_flip(seed):
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, 4, (2, 9)) / 3
    result = paired_permutation_test(first, second)
    assert result.p == pytest.approx(every_flip(first - second))
    assert result.value == pytest.approx((first - second).mean()) and result.n_queries == 9


def test_drawn_flips_come_close_to_every_flip():
    rng = np.random.default_rng(0)
    first, second = rng.normal(0.4, 1, 14) + 0.5, rng.normal(0.4, 1, 14)
    drawn = paired_permutation_test(first, second, n_permutations=16_000)
    assert drawn.p == pytest.approx(every_flip(first - second), abs=0.02)


def test_the_order_of_experiments_and_of_queries_does_not_matter_to_a_full_count():
    first, second = np.random.default_rng(0).random((2, 10))
    there, back = paired_permutation_test(first, second), paired_permutation_test(second, first)
    assert there.p == back.p and there.value == -back.value
    assert paired_permutation_test(first[::-1], second[::-1]).p == there.p


def test_no_difference_and_a_clear_one():
    assert paired_permutation_test(VALUES, VALUES).p == 1
    clear = paired_permutation_test(VALUES + 1, VALUES, n_permutations=999)
    assert clear.p == 1 / 1000, "the observed order counts among the draws"
    assert clear.value == pytest.approx(1)


def test_false_alarms_are_as_rare_as_they_should_be():
    rng = np.random.default_rng(0)
    alarms = [paired_permutation_test(*rng.random((2, 30)), n_permutations=400, seed=s).p < 0.1 for s in range(300)]
    assert 0.05 < np.mean(alarms) < 0.16


def test_blocks_do_not_change_the_number_of_draws(monkeypatch):
    first, second = np.random.default_rng(0).random((2, 100))
    whole = paired_permutation_test(first, second, 1000)
    monkeypatch.setattr(blocks, "CELLS_PER_BLOCK", 700)
    assert paired_permutation_test(first, second, 1000).p == pytest.approx(whole.p, abs=0.05)


def test_unscored_queries_and_other_queries():
    first = np.array([1.0, np.nan, 3, 4])
    second = np.array([0.5, 2, np.nan, 3])
    assert paired_permutation_test(first, second).n_queries == 2
    assert np.isnan(paired_permutation_test(first[1:2], second[1:2]).p)
    with pytest.raises(ValueError, match=r"same queries.*\(4,\) and \(3,\)"):
        paired_permutation_test(first, second[1:])


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_very_many_queries_that_scored_the_same_are_drawn_together(monkeypatch, statistic):
    values = np.floor(np.random.default_rng(0).exponential(4, 2_001)) + 1
    given = np.stack([values, 100.0 * (values == 1)], axis=1) if statistic == "mean" else values
    one_by_one = resampled(given, statistic, 4_000, seed=1)
    monkeypatch.setattr("stages.score.functional.uncertainty.MANY_QUERIES", 2_000)
    together = resampled(given, statistic, 4_000, seed=1)
    assert together.shape == one_by_one.shape and not np.array_equal(together, one_by_one)
    spread = one_by_one.std(axis=0)
    assert (np.abs(together.mean(axis=0) - one_by_one.mean(axis=0)) <= 0.1 * spread + 1e-9).all()
    assert (np.abs(together.std(axis=0) - spread) <= 0.1 * spread + 1e-9).all()
    assert set(np.unique(together)) <= set(np.unique(one_by_one)) or statistic == "mean"


def test_values_that_all_differ_are_drawn_one_by_one(monkeypatch):
    values = np.random.default_rng(0).random(500)
    before = resampled(values, n_resamples=5)
    monkeypatch.setattr("stages.score.functional.uncertainty.MANY_QUERIES", 2)
    assert np.array_equal(resampled(values, n_resamples=5), before)
