"""Two experiments over the same queries: their numbers, and how likely chance alone makes them differ so much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from stages.score.scored import Queries, per_query
from stages.score.uncertainty import N_PERMUTATIONS, paired_permutation_test

METRICS = ("accuracy", "R@1", "R@5", "R@10", "R@50", "MeanR", "mAP", "nDCG")
"""Those that are means over queries. A median rank is none, and its difference no mean of differences."""
AVERAGE = "average"
AVERAGED = ("text_to_clip", "clip_to_text")
KEY = ["direction", "kind", "query_id"]

Values = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Numbers:
    """What an experiment scored.

    Attributes:
        metrics: direction -> metric -> value.
        queries: rows of `cache.tables.QUERIES` of this experiment alone.
    """

    metrics: Mapping[str, Mapping[str, float | None]]
    queries: pl.DataFrame


class Compared(NamedTuple):
    """One metric of one direction, over the queries that both experiments scored.

    Attributes:
        first, second: the metric of each experiment.
        p: two-sided p-value of no difference, from `paired_permutation_test`.
        n_queries: that both scored.
    """

    direction: str
    metric: str
    first: float
    second: float
    p: float
    n_queries: int


class Unmatched(NamedTuple):
    """Queries that only one of the experiments has, which the comparison leaves out."""

    direction: str
    kind: str
    only_first: int
    only_second: int


def compared(first: Numbers, second: Numbers, n_permutations: int = N_PERMUTATIONS) -> list[Compared]:
    """Compares each metric that both experiments have; directions without a common query are left out.

    The queries of `average` are those of both directions, each direction weighing one half however many it has.
    """
    paired = _paired(first.queries, second.queries)
    rows = []
    for direction, metrics in first.metrics.items():
        kinds = [paired.get(one, []) for one in (AVERAGED if direction == AVERAGE else (direction,))]
        for metric in METRICS:
            if metric not in metrics or metric not in second.metrics.get(direction, {}):
                continue
            parts = [values for one in kinds if (values := _values(metric, one)) is not None]
            if parts and len(parts) == len(kinds):
                rows.append(_test(direction, metric, parts, n_permutations))
    return rows


def unmatched(first: Numbers, second: Numbers) -> list[Unmatched]:
    """How many queries only one of the experiments has, by direction and kind; nothing where all match."""
    only = [
        a.join(b, on=KEY, how="anti").group_by("direction", "kind").len().rows()
        for a, b in ((first.queries, second.queries), (second.queries, first.queries))
    ]
    counts = [{(direction, kind): n for direction, kind, n in rows} for rows in only]
    places = sorted({*counts[0], *counts[1]})
    return [Unmatched(*place, counts[0].get(place, 0), counts[1].get(place, 0)) for place in places]


def _paired(first: pl.DataFrame, second: pl.DataFrame) -> dict[str, list[tuple[Queries, Queries]]]:
    """By direction, for each kind of query those that both have, in the same order."""
    both = first.join(second, on=KEY, how="inner", suffix=" of second", maintain_order="left")
    found: dict[str, list[tuple[Queries, Queries]]] = {}
    for (direction, _), rows in both.group_by("direction", "kind", maintain_order=True):
        found.setdefault(str(direction), []).append((_queries(rows, ""), _queries(rows, " of second")))
    return found


def _queries(rows: pl.DataFrame, suffix: str) -> Queries:
    columns: dict[str, Any] = {
        name: rows[name + suffix].to_numpy() for name in ("rank", "average_precision", "ndcg", "correct")
    }
    return Queries(rows["query_id"].to_list(), **columns)


def _values(metric: str, kinds: Sequence[tuple[Queries, Queries]]) -> Values | None:
    """The numbers of the kind of query that has them, without queries that either experiment left unscored."""
    for both in kinds:
        columns = [per_query(metric, one) for one in both]
        if columns[0] is not None and columns[1] is not None:
            scored = ~np.isnan(columns[0]) & ~np.isnan(columns[1])
            if scored.any():
                return columns[0][scored], columns[1][scored]
    return None


def _test(direction: str, metric: str, parts: Sequence[Values], n_permutations: int) -> Compared:
    """The mean over all parts at once is the mean of their means when each query counts 1 / (parts x its part)."""
    n_queries = sum(len(first) for first, _ in parts)
    weights = np.concatenate([np.full(len(one), n_queries / len(parts) / len(one)) for one, _ in parts])
    first, second = (np.concatenate(one) * weights for one in zip(*parts, strict=True))
    difference = paired_permutation_test(first, second, n_permutations)
    return Compared(direction, metric, float(first.mean()), float(second.mean()), difference.p, n_queries)
