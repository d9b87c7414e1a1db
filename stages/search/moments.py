"""Neighbouring clips of one file shown as one result with its best moment.

Windows of a long recording that touch or overlap often come back side by side for one query. Read from the best clip
on, a clip joins an earlier result if it touches that one's span of the same file, else it begins a result of its own;
so a result stands where its best clip stands, and no clip is shown twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

LARGEST_GAP_S = 0.05
"""Between clips that still touch, seconds."""


@dataclass
class Moment:
    """A result: the best clip, and the clips of the same file around it.

    Attributes:
        row: of the best clip.
        start_s: of all its clips together.
        stop_s: likewise.
        rows: of all its clips, in the order of their scores.
    """

    row: int
    start_s: float
    stop_s: float
    rows: list[int] = field(default_factory=list)


def moments(
    order: NDArray[np.int64],
    media: Sequence[str],
    start_s: NDArray[np.float64],
    stop_s: NDArray[np.float64],
    gap_s: float = LARGEST_GAP_S,
) -> list[Moment]:
    """Groups ranked clips into results.

    Args:
        order: (k,) clips, best first, as positions in the other arguments.
        media: (n,) the file of each clip.
        start_s: (n,) seconds.
        stop_s: (n,) seconds.
        gap_s: seconds between clips that still belong together.

    Returns:
        Results, best first.

    Example:
        >>> found = moments(np.array([2, 0, 1]), ["a", "b", "a"], np.array([0., 0., 5.]), np.array([5., 5., 10.]))
        >>> [(one.row, one.rows) for one in found]
        [(2, [2, 0]), (1, [1])]
    """
    results: list[Moment] = []
    of_media: dict[str, list[Moment]] = {}
    for row in order.tolist():
        start, stop = float(start_s[row]), float(stop_s[row])
        own = of_media.setdefault(media[row], [])
        touched = next(
            (moment for moment in own if start <= moment.stop_s + gap_s and stop >= moment.start_s - gap_s), None
        )
        if touched is None:
            touched = Moment(row, start, stop)
            own.append(touched)
            results.append(touched)
        touched.rows.append(row)
        touched.start_s, touched.stop_s = min(touched.start_s, start), max(touched.stop_s, stop)
    return results
