"""How fast something grows: the exponent of a power of n, and what that gives at another n."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Growth:
    """A power law through measurements.

    Attributes:
        start: what there is without any rows.
        at_one: factor of the power.
        exponent: of the number of rows; 0 where nothing grows that could be measured, nan of too few sizes.
    """

    start: float
    at_one: float
    exponent: float

    def at(self, rows: float) -> float:
        """The value at another number of rows."""
        return self.start + self.at_one * rows**self.exponent


def fitted(values: Mapping[int, float], decades: float = 2.0, least: float = 0.0) -> Growth:
    """Fits start + a × rows ** exponent.

    The value at the fewest rows counts as the start and is taken from the others; of these, those of the last decades
    are fitted, by least squares of the logarithms.

    Args:
        values: rows -> what was measured.
        decades: which of the upper sizes count.
        least: smaller differences are noise.
    """
    sizes = sorted(values)
    start = values[sizes[0]]
    upper = [(n, values[n] - start) for n in sizes[1:] if n * 10**decades >= sizes[-1] and values[n] - start > least]
    if len(upper) < 2:
        return Growth(start, 0.0, float("nan") if upper or len(sizes) < 3 else 0.0)
    exponent, intercept = np.polyfit(*np.log(np.array(upper)).T, 1)
    return Growth(start, float(np.exp(intercept)), float(exponent))
