"""Classification by similarity: average precision of each class, and accuracy of each.

Both agree with `torchmetrics.functional` (`multiclass_average_precision`, `multilabel_average_precision`,
`multiclass_accuracy`) to 1e-9 on similarities without ties: `tests/parity/test_zero_shot_parity.py`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.score.functional.blocks import each_block
from stages.score.functional.ranking import Array, same_shape, without_nan


def class_average_precision(sims: Array, members: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Average precision of each class over the clips: the sum of precision times the increase of recall.

    Equally similar clips are one threshold, as in scikit-learn and torchmetrics: none of them stands before another.

    Args:
        sims: (C, N) similarities of classes and clips.
        members: (C, N), True where the clip is of the class.

    Returns:
        (C,) fractions; nan of a class without clips.
    """
    same_shape(sims, members)
    result = np.full(len(sims), np.nan)

    def work(rows: slice) -> None:
        block = without_nan(sims[rows], rows)
        for row, own, right in zip(range(rows.start, rows.stop), block, members[rows], strict=True):
            if right.any():
                result[row] = _average_precision(own, right)

    each_block(work, *sims.shape)
    return result


def _average_precision(sims: Array, right: NDArray[np.bool_]) -> float:
    order = np.argsort(-sims, kind="stable")
    ranked = sims[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # of each run of equals
    found = np.cumsum(right[order])[last]
    return float((np.diff(found, prepend=0) / found[-1] * (found / (last + 1))).sum())


def reciprocal_at(ranks: Array, k: int) -> NDArray[np.float64]:
    """1 / rank of those within the first k (below k + 1, as in R@k), else 0; nan stays.

    The mean is LAION-CLAP's mAP@10 where k is 10 and each clip has one class.
    """
    within: NDArray[np.float64] = np.where(ranks >= k + 1, 0.0, 1 / np.asarray(ranks, np.float64))
    return within


def chance_reciprocal_at(counts: Array, n_items: int, k: int) -> float:
    """The mean of `reciprocal_at` of rankings drawn at random.

    Args:
        counts: (Q,) right items of each query, 1 or more.
        n_items: N.
        k: as above.
    """
    ranks = np.arange(1, min(k, n_items) + 1)
    total = 0.0
    for count, weight in zip(*np.unique(counts, return_counts=True), strict=True):
        remaining = np.arange(n_items, n_items - len(ranks), -1)
        missed = np.concatenate([[1.0], np.cumprod(np.maximum(remaining - count, 0) / remaining)])
        total += weight * float(((missed[:-1] - missed[1:]) / ranks).sum())
    return total / len(counts) if len(counts) else float("nan")


def shares(hits: Array, members: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(C,) the share of each class's clips that are hits; nan of a class without clips.

    Args:
        hits: (N,) true where a clip's class is found.
        members: (C, N), True where the clip is of the class.
    """
    counts = members.sum(axis=1)
    found = members @ np.asarray(hits, np.float64)
    result: NDArray[np.float64] = np.divide(found, counts, out=np.full(len(members), np.nan), where=counts > 0)
    return result
