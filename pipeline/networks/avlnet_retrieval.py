"""Retrieval between the sides of AVLnet as its authors measure it: which sides, and ties that count several times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.errors import UserError
from pipeline.networks.avlnet_shape import Variant

RECALL_AT = (1, 5, 10)
SIDES: Mapping[Variant, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "bi": (("sound",), ("picture",)),
    "tri": (("text",), ("sound", "picture")),
    "fused": (("sound_text",), ("picture",)),
}
"""Which sides are added up to make the queries, and which to make the items."""


def direction(queries: tuple[str, ...], items: tuple[str, ...]) -> str:
    """What a direction is called: `sound_to_picture`, `text_to_sound_picture`, ..."""
    return f"{'_'.join(queries)}_to_{'_'.join(items)}"


def both_directions(
    similarities: NDArray[Any], variant: Variant, count: int | None = None
) -> dict[str, dict[str, float]]:
    """Recall and median rank when query i belongs to item i.

    Args:
        similarities: (n, n), queries by items.
        variant: which sides they are.
        count: number of queries, where those that are not here count as mistakes.

    Raises:
        UserError: a similarity is NaN, which would rank first and last at once.
    """
    queries, items = SIDES[variant]
    broken = np.flatnonzero(np.isnan(similarities).any(axis=1))
    if len(broken):
        raise UserError(
            f"The similarities of query {broken[0]} ({direction(queries, items)}) hold NaN ({len(broken)} of "
            f"{len(similarities)} queries do): look for NaN in the features of its clip and in the weights."
        )
    return {
        direction(a, b): retrieval(*runs_of_ranks(sims), count)
        for a, b, sims in ((queries, items, similarities), (items, queries, similarities.T))
    }


def runs_of_ranks(similarities: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last 1-based rank that the diagonal shares with what is exactly as similar: twice (n,)."""
    right = np.diagonal(similarities)[:, None]
    above = np.count_nonzero(similarities > right, axis=1)
    return above + 1, above + np.count_nonzero(similarities == right, axis=1)


def retrieval(first: NDArray[Any], last: NDArray[Any], count: int | None = None) -> dict[str, float]:
    """R@1, R@5, R@10 (percent) and MedR.

    A query that ties has all ranks of the run it ties in, and each of them counts, so R@k may exceed 100. The median
    is over the queries that are here.

    Args:
        first: (n,) first 1-based rank of each query.
        last: (n,) last 1-based rank.
        count: number of queries that recall is a fraction of; n by default.
    """
    lengths = np.asarray(last - first + 1).astype(np.int64)
    hits = {f"R@{k}": np.clip(k - first + 1, 0, lengths).sum() for k in RECALL_AT}
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    ranks: NDArray[Any] = np.repeat(first, lengths) + np.arange(lengths.sum()) - starts
    values = {name: 100.0 * float(number) / max(1, count or len(first)) for name, number in hits.items()}
    return {**values, "MedR": float(np.median(ranks)) if len(ranks) else float("nan")}
