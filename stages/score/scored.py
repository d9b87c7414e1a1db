"""What a protocol makes of an experiment: numbers per query and over all queries."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Scored:
    """One direction (or group of questions) of an experiment.

    Attributes:
        query_ids: of captions, clips or questions.
        ranks: (q,) 1-based rank of the best right item.
        average_precision: (q,) fraction; nan where the protocol has none.
        ndcg: (q,) fraction; nan likewise.
        n_relevant: (q,) right items.
        n_items: items ranked.
        values: metric -> value; R@k and accuracy in percent, mAP and nDCG as fractions.
        chance: the same for a ranking drawn at random, where it is known.
        intervals: metric -> the two ends of its 95 % confidence interval.
    """

    query_ids: list[str]
    ranks: NDArray[np.float64]
    average_precision: NDArray[np.float64]
    ndcg: NDArray[np.float64]
    n_relevant: NDArray[np.int64]
    n_items: int
    values: Mapping[str, float]
    chance: Mapping[str, float] = field(default_factory=dict)
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)


class Scorer(Protocol):
    """A protocol opened on the tables and embeddings of an experiment."""

    n_clips_missing: int
    """Clips of the corpus that an encoder has no embedding of."""

    def score(self, members: Collection[str] | None = None) -> dict[str, Scored]:
        """Scores the whole corpus, or the clips (and questions) whose ids are given.

        Raises:
            NothingToScore: nothing is left to rank.
        """

    def examples(self, directions: Mapping[str, Scored]) -> list[dict[str, Any]]:
        """Queries of the whole corpus that are answered well and badly, with what was found."""

    def heatmap(self) -> dict[str, NDArray[Any]]:
        """A sample of the similarity matrix with its labels: `sims`, `captions`, `clips`."""
