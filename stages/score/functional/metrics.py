"""Retrieval metrics: rankings or similarities in, numbers out.

Rank metrics are percentages and 1-based ranks; average precision and nDCG are fractions 0..1.
All follow audio_egovlp's `model/metric.py`; average precision and nDCG are in `graded.py`.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from stages.score.functional.blocks import row_blocks
from stages.score.functional.graded import discounts, ideal_gain
from stages.score.functional.ranking import Array

RECALL_AT = (1, 5, 10)


def recall_at(ranks: Array, k: int) -> float:
    """Percentage of queries whose best answer ranks among the first k.

    Queries without an answer (nan ranks) are left out. Ranks in between, which averaged ties
    give, follow the reference: below k + 1 counts, so 5.5 is a hit at 5, but a hit at 1 takes
    exactly rank 1, so a first place shared by two (1.5) is none.
    """
    return 100.0 * _mean(hits_at(_scored(ranks), k))


def hits_at(ranks: Array, k: int) -> NDArray[np.bool_]:
    """Which of the ranks count as found at k; see `recall_at`."""
    found: NDArray[np.bool_] = ranks == 1 if k == 1 else ranks < k + 1
    return found


def median_rank(ranks: Array) -> float:
    """Median of the ranks of queries that have an answer; nan if none has."""
    scored = _scored(ranks)
    return float(np.median(scored)) if len(scored) else float("nan")


def mean_rank(ranks: Array) -> float:
    """Mean of the ranks of queries that have an answer; nan if none has."""
    return _mean(_scored(ranks))


def retrieval_metrics(ranks: Array, ks: Iterable[int] = RECALL_AT) -> dict[str, float]:
    """R@k for each k (percent), MedR, MeanR, and n_queries, the queries that have an answer."""
    return {
        **{f"R@{k}": recall_at(ranks, k) for k in ks},
        "MedR": median_rank(ranks),
        "MeanR": mean_rank(ranks),
        "n_queries": len(_scored(ranks)),
    }


def chance(
    relevant_counts: Array,
    n_items: int,
    relevancy: Array | None = None,
    ks: Iterable[int] = RECALL_AT,
) -> dict[str, float]:
    """What a ranking drawn at random scores on average. All values are exact, none is sampled.

    - R@k: the chance that k items drawn without putting back hold one of the c answers,
      1 - C(N-c, k) / C(N, k), averaged over the queries that have an answer.
    - MedR: the median of the rank of the best answer, over queries and random rankings alike
      (5.5 for one answer among 10 items).
    - MeanR: (N + 1) / (c + 1), averaged likewise.
    - mAP, nDCG: expectations of average precision over all queries, and of nDCG over those
      that have anything relevant. Without `relevancy` each answer has relevancy 1, the rest 0.

    Args:
        relevant_counts: (Q,) the number of answers of each query among the items.
        n_items: N.
        relevancy: (Q, N) graded relevancies, where mAP and nDCG are scored on such.
        ks: the k of R@k.
    """
    counts = np.asarray(relevant_counts)
    if counts.size and not 0 <= counts.min() <= counts.max() <= n_items:
        raise ValueError(
            f"a query has 0 to {n_items} answers among {n_items} items, "
            f"but the counts run from {counts.min()} to {counts.max()}"
        )
    answered = counts[counts > 0]
    reached = _chance_to_reach(answered, n_items)
    values = {f"R@{k}": 100 * float(reached[min(k, n_items)]) for k in ks}
    values["MedR"] = _median_of_distribution(reached)
    values["MeanR"] = _mean((n_items + 1) / (answered + 1))
    each_query: slice | Array = slice(None)
    if relevancy is None:
        distinct, each_query = np.unique(counts, return_inverse=True)
        relevancy = np.arange(n_items) < distinct[:, None]
    values["mAP"] = _mean(_chance_average_precision(relevancy)[each_query])
    values["nDCG"] = _mean(_scored(_chance_ndcg(relevancy)[each_query]))
    return values


def _chance_to_reach(counts: Array, n_items: int) -> NDArray[np.float64]:
    """Chance that the best of a query's answers ranks within the first 0, 1, ... N items."""
    missed = np.zeros(n_items + 1)
    distinct, weights = np.unique(counts, return_counts=True)
    remaining = np.arange(n_items, 0, -1)
    for count, weight in zip(distinct, weights, strict=True):
        still_missed = np.cumprod(np.maximum(remaining - count, 0) / remaining)
        missed += weight * np.concatenate([[1.0], still_missed])
    return 1 - missed / len(counts) if len(counts) else np.full(n_items + 1, np.nan)


def _median_of_distribution(reached: NDArray[np.float64]) -> float:
    """Median rank, where `reached[k]` is the chance of a rank up to k; halfway if two halve it."""
    if np.isnan(reached).any():
        return float("nan")
    tolerance = 1e-9  # of the running product over up to N factors
    first = np.argmax(reached >= 0.5 - tolerance)
    second = np.argmax(reached > 0.5 + tolerance)
    return float(first + second) / 2


def _chance_average_precision(relevancy: Array) -> Array:
    """Expected average precision over all orders.

    Above an answer at rank r stand r - 1 of the N - 1 other items, in the mean with the relevancy
    of those; the answer is as likely at any rank. Hence the harmonic number.
    """
    n_items = relevancy.shape[1]
    harmonic = (1 / np.arange(1, n_items + 1)).sum()
    others = (relevancy.sum(axis=1, dtype=np.float64) - 1) / max(n_items - 1, 1)
    expected = (harmonic + others * (n_items - harmonic)) / max(n_items, 1)
    return np.where((relevancy == 1).any(axis=1), expected, 0)


def _chance_ndcg(relevancy: Array) -> NDArray[np.float64]:
    """Expected nDCG over all orders: at every rank stands the mean relevancy."""
    result = np.full(len(relevancy), np.nan)
    discount_sums = np.concatenate([[0], np.cumsum(discounts(relevancy.shape[1]))])
    for rows in row_blocks(*relevancy.shape):
        block = np.asarray(relevancy[rows], np.float64)
        gain = block.sum(axis=1) / max(block.shape[1], 1) * discount_sums[np.count_nonzero(block, axis=1)]
        ideal = ideal_gain(block)
        np.divide(gain, ideal, out=result[rows], where=ideal != 0)
    return result


def _scored(values: Array) -> Array:
    return values[~np.isnan(values)]


def mean_scored(values: Array) -> float:
    """Mean of the values that are not nan; nan if none is."""
    return _mean(_scored(values))


def _mean(values: Array) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
