"""What a protocol makes of an experiment: numbers per query and over all queries."""

from __future__ import annotations

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stages.score.functional.classification import reciprocal_at
from stages.score.functional.metrics import hits_at
from stages.score.functional.uncertainty import interval, resampled

Column = NDArray[np.float64]
_AT = re.compile(r"(R@|top-|mAP@)([0-9]+)")
"""Metrics of a rank up to k."""


@dataclass(frozen=True, eq=False)
class Queries:
    """Numbers of each query; a column that the protocol has not is None.

    Attributes:
        ids: of captions, clips or questions, or names of classes.
        rank: (q,) 1-based rank of the best right item.
        average_precision: (q,) fraction.
        ndcg: (q,) fraction; nan where nothing is relevant.
        correct: (q,) 1 where the answer is right, else 0; of a class the share of its clips.
    """

    ids: list[str]
    rank: Column | None = None
    average_precision: Column | None = None
    ndcg: Column | None = None
    correct: Column | None = None


@dataclass(frozen=True, eq=False)
class Scored:
    """One direction (or group of questions) of an experiment.

    Attributes:
        queries: what is ranked for, by kind where numbers of one direction come from two kinds of query.
        n_items: items ranked.
        values: metric -> value; R@k, top-k and accuracy in percent, mAP, mAP@k and nDCG as fractions.
        chance: the same for a ranking drawn at random, where it is known.
        classes: class -> metric -> value, where the protocol has classes.
        intervals: metric -> the two ends of its 95 % confidence interval.
    """

    queries: dict[str, Queries]
    n_items: int
    values: Mapping[str, float]
    chance: Mapping[str, float] = field(default_factory=dict)
    classes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def n_queries(self) -> int:
        """Queries of the first kind."""
        return len(next(iter(self.queries.values())).ids) if self.queries else 0

    def ranks(self) -> Column:
        """Ranks of the kind of query that has them."""
        return next((one.rank for one in self.queries.values() if one.rank is not None), np.zeros(0))


class Scorer(Protocol):
    """A protocol opened on the tables and embeddings of an experiment."""

    n_clips_missing: int
    """Clips of the corpus that an encoder has no embedding of."""

    def score(self, members: AbstractSet[str] | None = None) -> dict[str, Scored]:
        """Scores the whole corpus, or the clips (and questions) whose ids are given.

        Raises:
            NothingToScore: nothing is left to rank.
        """

    def examples(self, directions: Mapping[str, Scored]) -> list[dict[str, Any]]:
        """Queries of the whole corpus that are answered well and badly, with what was found."""

    def heatmap(self) -> dict[str, NDArray[Any]]:
        """A sample of the similarity matrix with its labels: `sims`, `captions`, `clips`; empty if there is none."""


def per_query(metric: str, queries: Queries) -> Column | None:
    """The numbers whose mean (of MedR, median) is a metric, nan of queries without one; None without such numbers."""
    if found := _AT.fullmatch(metric):
        name, k = found[1], int(found[2])
        if queries.rank is None:
            return None
        if name == "mAP@":
            return reciprocal_at(queries.rank, k)
        return np.where(np.isnan(queries.rank), np.nan, 100.0 * hits_at(queries.rank, k))
    return {
        "MedR": queries.rank,
        "MeanR": queries.rank,
        "mAP": queries.average_precision,
        "nDCG": queries.ndcg,
        "accuracy": None if queries.correct is None else 100.0 * queries.correct,
        "macro top-1": None if queries.correct is None else 100.0 * queries.correct,
    }.get(metric)


def intervals(values: Mapping[str, float], queries: Mapping[str, Queries]) -> dict[str, tuple[float, float]]:
    """95 % percentile bootstrap intervals of metrics over queries.

    Args:
        values: metric -> value; those that are no mean or median over queries get no interval.
        queries: by kind, as in `Scored`.
    """
    found: dict[str, tuple[float, float]] = {}
    for kind in queries.values():
        given = {name: column for name in values if (column := per_query(name, kind)) is not None}
        columns = {name: scored for name, column in given.items() if len(scored := column[~np.isnan(column)])}
        lengths = {len(column) for column in columns.values()}
        for length in lengths:
            together = {name: column for name, column in columns.items() if len(column) == length and name != "MedR"}
            if together:
                draws = resampled(np.stack(list(together.values()), axis=1))
                for at, name in enumerate(together):
                    found[name] = _ends(values[name], draws[:, at])
        if "MedR" in columns:
            found["MedR"] = _ends(values["MedR"], resampled(columns["MedR"], "median"))
    return found


def _ends(value: float, draws: NDArray[np.float64]) -> tuple[float, float]:
    both = interval(value, draws)
    return both.low, both.high
