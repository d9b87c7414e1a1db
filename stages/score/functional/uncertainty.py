"""How sure a mean over queries is, and whether two experiments differ.

Queries are taken as independent draws. Those of one corpus share clips and sentences, so intervals are a little too
narrow for a new corpus; a comparison of two experiments over the same queries suffers less from that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stages.score.functional.blocks import row_blocks
from stages.score.functional.ranking import Array

Statistic = Literal["mean", "median"]

N_RESAMPLES = 1_000
N_PERMUTATIONS = 10_000
LEVEL = 0.95
MANY_QUERIES = 100_000
"""From so many on, queries that scored the same are drawn together."""


@dataclass(frozen=True)
class Interval:
    """A value and the limits of its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """Attributes:
    value: mean of first - second over the queries.
    p: two-sided p-value of no difference.
    n_queries: that both experiments scored.
    """

    value: float
    p: float
    n_queries: int


def resampled(
    values: Array, statistic: Statistic = "mean", n_resamples: int = N_RESAMPLES, seed: int = 0
) -> NDArray[np.float64]:
    """The statistic in resamples of the queries, drawn with replacement (Efron 1979).

    Same seed and number of queries: same resamples, so columns may be compared draw by draw. Of very many queries it
    is drawn how often each value that there is occurs, which has the same distribution.

    Args:
        values: (Q,) per-query values, or (Q, M) of M metrics over the same queries.
        statistic: of each resample.
        n_resamples: R.
        seed: of the draws.

    Returns:
        (R,) or (R, M).
    """
    values = np.asarray(values, np.float64)
    result = np.empty((n_resamples, *values.shape[1:]))
    generator = np.random.default_rng(seed)
    if len(values) >= MANY_QUERIES and (values.ndim == 1 or statistic == "mean"):
        some, counts = _groups(values)
        if 10 * len(counts) < len(values):
            return _resampled_together(values[some], counts, statistic, n_resamples, generator)
    of_resamples = _MEANS_AND_MEDIANS[statistic](values)
    for rows in row_blocks(n_resamples, max(1, len(values))):
        drawn = generator.integers(0, len(values), (rows.stop - rows.start, len(values)), dtype=np.int32)
        result[rows] = of_resamples(drawn)
    return result


def interval(value: float, resamples: Array, level: float = LEVEL) -> Interval:
    """The percentile interval of a value from its resamples (R,)."""
    low, high = np.quantile(resamples, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(value), float(low), float(high))


def bootstrap(
    values: Array,
    statistic: Statistic = "mean",
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> Interval:
    """Percentile bootstrap interval of a mean or median over queries; nan values are left out.

    For R@k give hits in percent (0 or 100), for MedR ranks and "median". For the mean of two directions, which have
    different queries, take the `interval` of the mean of their `resampled` means, each with a seed of its own.

    Args:
        values: (Q,) per-query values.
        statistic: as above.
        n_resamples: R.
        seed: of the draws.
        level: of confidence.
    """
    values = np.asarray(values, np.float64)
    scored = values[~np.isnan(values)]
    if not len(scored):
        return Interval(float("nan"), float("nan"), float("nan"))
    value = np.mean(scored) if statistic == "mean" else np.median(scored)
    return interval(float(value), resampled(scored, statistic, n_resamples, seed), level)


def paired_permutation_test(
    first: Array, second: Array, n_permutations: int = N_PERMUTATIONS, seed: int = 0
) -> Difference:
    """Whether two experiments differ over the same queries: a sign-flip permutation test of the mean difference.

    Without a difference either experiment might have given either value of a query, so each query's difference may
    flip its sign (Fisher 1935; Smucker et al. 2007 compare it with other tests for retrieval). All flips are counted
    where there are no more than `n_permutations`; else as many are drawn, and the observed one counts among them, so
    that p is never 0. Queries that either experiment left unscored (nan) are left out.

    Args:
        first: (Q,) per-query values of one experiment.
        second: (Q,) those of the other, in the same order.
        n_permutations: draws.
        seed: of the draws.

    Raises:
        ValueError: the experiments have different numbers of queries.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"a paired test needs the same queries, but there are {first.shape} and {second.shape} values")
    differences = first - second
    differences = differences[~np.isnan(differences)]
    n_queries = len(differences)
    if not n_queries:
        return Difference(float("nan"), float("nan"), 0)
    observed = float(differences.mean())
    moving = differences[differences != 0]
    limit = abs(moving.sum()) * (1 - 1e-9) - 1e-12 * np.abs(moving).max(initial=0)
    if len(moving) < 63 and 2 ** len(moving) <= n_permutations:
        signs = np.arange(2 ** len(moving))[:, None] >> np.arange(len(moving)) & 1
        extreme, n_flips = _count_extreme(signs, moving, limit), len(signs)
        return Difference(observed, extreme / n_flips, n_queries)
    generator = np.random.default_rng(seed)
    extreme = 1
    for rows in row_blocks(n_permutations, len(moving)):
        n_bytes = -(-len(moving) // 8)
        bits = generator.integers(0, 256, (rows.stop - rows.start, n_bytes), dtype=np.uint8)
        extreme += _count_extreme(np.unpackbits(bits, axis=1, count=len(moving)), moving, limit)
    return Difference(observed, extreme / (n_permutations + 1), n_queries)


def _count_extreme(flips: Array, differences: NDArray[np.float64], limit: float) -> int:
    sums = differences.sum() - 2 * (flips.astype(np.float64) @ differences)
    return int(np.count_nonzero(np.abs(sums) >= limit))


def _means(values: NDArray[np.float64]) -> Callable[[Array], Array]:
    return lambda drawn: values.take(drawn, axis=0).mean(axis=1)


def _medians(values: NDArray[np.float64]) -> Callable[[Array], Array]:
    """The median of a resample is the value at the median of the places drawn, in sorted order."""
    in_order = np.sort(values, axis=0)

    def medians(drawn: Array) -> Array:
        middle = (drawn.shape[1] - 1) // 2, drawn.shape[1] // 2
        places = np.partition(drawn, middle, axis=1)[:, middle]
        return in_order[places].mean(axis=1)

    return medians


def _resampled_together(
    distinct: NDArray[np.float64], counts: Array, statistic: Statistic, n_resamples: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    result = np.empty((n_resamples, *distinct.shape[1:]))
    n = int(counts.sum())
    for rows in row_blocks(n_resamples, len(counts)):
        drawn = generator.multinomial(n, counts / n, rows.stop - rows.start)
        result[rows] = drawn @ distinct / n if statistic == "mean" else _middle(distinct, drawn)
    return result


def _groups(values: NDArray[np.float64]) -> tuple[Array, Array]:
    """Of queries that scored the same in all metrics, one query and how many there are; ascending by the first metric.

    Args:
        values: (Q,) or (Q, M).
    """
    codes: Array = np.zeros(len(values), np.int64)
    for column in values.reshape(len(values), -1).T:
        own, numbers = np.unique(column, return_inverse=True)
        codes = np.unique(codes * len(own) + numbers, return_inverse=True)[1]
    _, first, counts = np.unique(codes, return_index=True, return_counts=True)
    return first, counts


def _middle(distinct: NDArray[np.float64], drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    """The median of each resample, (R,), of values (G,) ascending that occur so many times, (R, G)."""
    up_to = np.cumsum(drawn, axis=1)
    n = int(up_to[0, -1])
    ends: list[NDArray[np.float64]] = [distinct[(up_to > place).argmax(axis=1)] for place in ((n - 1) // 2, n // 2)]
    return (ends[0] + ends[1]) / 2


_MEANS_AND_MEDIANS = {"mean": _means, "median": _medians}
