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

Rows = NDArray[np.int32]

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
        files = np.unique(media, return_inverse=True)[1].astype(np.int32)
        self._file_of = files
        self._order = np.lexsort((stop_s, start_s, files)).astype(np.int32)
        files, starts, stops = files[self._order], start_s[self._order], stop_s[self._order]
        self._begins = np.searchsorted(files, np.arange(files[-1] + 2 if len(files) else 1))
        self._touches: list[NDArray[np.bool_]] = []
        """Whether a clip and the first, second, ... one after it touch."""
        for ahead in range(1, min(MOST_AHEAD, len(files) - 1) + 1):
            touches = (files[:-ahead] == files[ahead:]) & (starts[ahead:] <= stops[:-ahead] + gap_s)
            if not touches.any():  # sorted by start: later ones touch even less
                break
            self._touches.append(touches)

    def of_file(self, row: int) -> Rows:
        """The clips of a clip's file, by start."""
        file = self._file_of[row]
        return self._order[self._begins[file] : self._begins[file + 1]]

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
        n, sorted_scores = len(scores), scores[self._order]
        ranked = np.isfinite(sorted_scores)
        most, above, place = sorted_scores.copy(), np.arange(n, dtype=np.int32), np.arange(n, dtype=np.int32)
        for ahead, touches in enumerate(self._touches, 1):
            first, second = slice(0, n - ahead), slice(ahead, n)
            both = touches & ranked[first] & ranked[second]
            rises = both & (sorted_scores[second] > most[first])
            np.copyto(above[first], place[second], where=rises)
            np.copyto(most[first], sorted_scores[second], where=rises)
            rises = both & (sorted_scores[first] >= most[second])  # of equal ones the earlier is the better
            np.copyto(above[second], place[first], where=rises)
            np.copyto(most[second], sorted_scores[first], where=rises)
        while True:
            further = above[above]
            if np.array_equal(further, above):
                break
            above = further
        result = np.empty(n, np.int32)
        result[self._order] = self._order[above]
        return result
