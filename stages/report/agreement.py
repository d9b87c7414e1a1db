"""How far two judges agree on levels of relevancy: exact agreement and Cohen's kappa."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVELS = ("low", "moderate", "high")


@dataclass(frozen=True, eq=False)
class Agreement:
    """Two judges side by side.

    Attributes:
        table: (levels, levels) int64, how often the first judge's level (rows) met the second's (columns).
        exact: fraction of the same level; nan if nothing was judged by both.
        kappa: Cohen's kappa, agreement beyond what their frequencies of levels give by chance: 1 is perfect, 0 is
            chance (Cohen 1960, doi:10.1177/001316446002000104); nan where chance alone gives full agreement.
    """

    table: NDArray[np.int64]
    exact: float
    kappa: float

    @property
    def n(self) -> int:
        """Items that both have judged."""
        return int(self.table.sum())


def agreement(first: Mapping[str, str], second: Mapping[str, str], levels: Sequence[str] = LEVELS) -> Agreement:
    """Compares levels by id; ids that only one has judged are left out."""
    place = {level: i for i, level in enumerate(levels)}
    table = np.zeros((len(levels), len(levels)), np.int64)
    for id in first.keys() & second.keys():
        table[place[first[id]], place[second[id]]] += 1
    n = int(table.sum())
    if n == 0:
        return Agreement(table, float("nan"), float("nan"))
    same = int(np.trace(table))
    by_chance = int(table.sum(axis=1) @ table.sum(axis=0))  # times n squared, in whole numbers
    kappa = float("nan") if by_chance == n * n else (same * n - by_chance) / (n * n - by_chance)
    return Agreement(table, same / n, kappa)
