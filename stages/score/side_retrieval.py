"""Protocol `avlnet`: recall and median rank between two sides, ties by a rule of one's choice."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cache.errors import UserError
from pipeline.networks.avlnet_retrieval import SIDES, retrieval
from pipeline.networks.avlnet_shape import Variant
from stages.score import metrics
from stages.score.at_scale.tally import Tally
from stages.score.ranking import Array, ranks_of_best
from stages.score.ranking import Ties as RankTies

METRICS = ("R@1", "R@5", "R@10", "MedR")
Ties = Literal["mean", "optimistic", "pessimistic", "several-ranks"]


@dataclass(frozen=True)
class SideResult:
    """What one direction scored.

    Attributes:
        ranks: (q,) 1-based rank of the best right item; of ties that count several ranks, the first.
        values: R@1, R@5, R@10 (percent) and MedR.
        chance: the same for a ranking drawn at random, exactly.
    """

    ranks: NDArray[np.float64]
    values: dict[str, float]
    chance: dict[str, float]


def score(sims: Array, right: NDArray[np.bool_], ties: Ties, count: int | None = None) -> SideResult:
    """Ranks the items for each query.

    Args:
        sims: (queries, items) similarities.
        right: (queries, items), True where they belong together; each query has a right item.
        ties: which rank counts where items are exactly as similar as the right one: as in `ranks_of_best`, or
            `several-ranks`, the rule of AVLnet's authors: each of them (see `avlnet.retrieval`).
        count: queries that recall is a fraction of; those that are not here count as mistakes. The median rank is over
            those that are here, as the authors have it.
    """
    return _result(lambda rule: ranks_of_best(sims, right, rule), right.sum(axis=1), sims.shape[1], ties, count)


def score_counted(tally: Tally, right_counts: NDArray[np.int64], ties: Ties, count: int | None = None) -> SideResult:
    """The same from counts, where the matrix does not fit into memory.

    Args:
        tally: of the best right item of each query.
        right_counts: (queries,) how many right items each has.
        ties: as above.
        count: as above.
    """
    return _result(tally.ranks, right_counts, tally.n_items, ties, count)


def _result(
    ranks_by: Callable[[RankTies], NDArray[np.float64]],
    right_counts: NDArray[np.int64],
    n_items: int,
    ties: Ties,
    count: int | None,
) -> SideResult:
    chance = metrics.chance(right_counts, n_items)
    here = 1.0 if count is None else len(right_counts) / count
    chance = {name: value * (here if name.startswith("R@") else 1.0) for name, value in chance.items()}
    if ties == "several-ranks":
        ranks = ranks_by("optimistic")
        values = retrieval(ranks, ranks_by("pessimistic"), count)
    else:
        ranks = ranks_by(ties)
        values = metrics.retrieval_metrics(ranks)
        values = {name: value * (here if name.startswith("R@") else 1.0) for name, value in values.items()}
    return SideResult(
        ranks,
        {name: float(values[name]) for name in METRICS},
        {name: float(chance[name]) for name in METRICS if name in chance},
    )


def variant_of(sides: Collection[str], where: str) -> Variant:
    """Which AVLnet has embedded these sides.

    Raises:
        UserError: none has.
    """
    for variant in ("fused", "tri", "bi"):
        queries, items = SIDES[variant]
        if set(queries + items) <= set(sides):
            return variant
    raise UserError(
        f"{where} holds no sides of AVLnet (found {', '.join(sorted(sides)) or 'nothing'}): run `dvc repro`, or "
        "`hearonce embed`."
    )
