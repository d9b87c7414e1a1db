"""Neighbouring clips of one file shown as one result with its best moment.

Windows of a long recording that touch or overlap often come back side by side for one query. A clip with a better one
among those that touch it in its file joins the best of them, and goes with it where that one joins; a clip without is a
result of its own, a peak of the score over time. So a result stands where its best clip stands, two scenes of one film
are two results with the windows between them divided, no clip is shown twice, and nothing depends on how far a list is
read.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]

LARGEST_GAP_S = 0.05
"""Between clips that still touch, seconds."""

MOST_AHEAD = 64
"""Of the clips that begin within another, so many are compared with it, the first ones."""


class Neighbours:
    """Which clips of a corpus touch.

    Args:
        media: (n,) the file of each clip.
        start_s: (n,) seconds.
        stop_s: (n,) seconds.
        gap_s: seconds between clips that still touch.
    """

    def __init__(
        self,
        media: NDArray,
        start_s: NDArray[np.float64],
        stop_s: NDArray[np.float64],
        gap_s: float = LARGEST_GAP_S,
    ) -> None:
        self._n = len(media)
        files = np.unique(media, return_inverse=True)[1]
        order = np.lexsort((stop_s, start_s, files))
        files, starts, stops = files[order], start_s[order], stop_s[order]
        pairs: list[tuple[Rows, Rows]] = []
        earlier = np.arange(self._n)
        for ahead in range(1, MOST_AHEAD + 1):
            earlier = earlier[earlier + ahead < self._n]
            later = earlier + ahead
            touches = (files[earlier] == files[later]) & (starts[later] <= stops[earlier] + gap_s)
            earlier = earlier[touches]  # sorted by start: what does not touch this one touches none after it
            if not len(earlier):
                break
            pairs.append((order[earlier], order[earlier + ahead]))
        self._pairs = pairs

    def joined(self, scores: NDArray[np.float32]) -> Rows:
        """For each clip the best clip of its result, itself where it is that.

        Args:
            scores: (n,), -inf for clips that are left out; they join nothing and nothing joins them.

        Example:
            >>> starts = np.array([0.0, 0.0, 5.0, 10.0])
            >>> neighbours = Neighbours(np.array(["a", "b", "a", "a"]), starts, starts + 5)
            >>> neighbours.joined(np.array([0.2, 0.1, 0.9, 0.3], np.float32)).tolist()
            [2, 1, 2, 2]
        """
        above = np.arange(self._n)
        most = scores.copy()
        for first, second in self._pairs:
            for low, high in ((first, second), (second, first)):
                rises = (scores[high] > most[low]) | ((scores[high] == most[low]) & (high < above[low]))
                rises &= np.isfinite(scores[low])
                above[low[rises]], most[low[rises]] = high[rises], scores[high[rises]]
        while True:
            further = above[above]
            if np.array_equal(further, above):
                return above
            above = further
