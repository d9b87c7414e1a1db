"""Neighbouring clips of a file as one result, beside a plain definition of it."""

import numpy as np

from stages.search.moments import LARGEST_GAP_S, Neighbours


def plainly_joined(media, starts, stops, scores):
    """Each clip joins its best touching neighbour, if that is better; of equal ones the earlier in the file is."""
    n = len(media)
    order = sorted(range(n), key=lambda i: (media[i], starts[i], stops[i], i))
    place = {row: position for position, row in enumerate(order)}

    def worth(i):
        return scores[i], -place[i]

    def touch(i, k):
        near = starts[k] <= stops[i] + LARGEST_GAP_S and starts[i] <= stops[k] + LARGEST_GAP_S
        return media[i] == media[k] and i != k and near

    above = list(range(n))
    for i in range(n):
        known = [k for k in range(n) if np.isfinite([scores[i], scores[k]]).all() and touch(i, k)]
        above[i] = max([*known, i], key=worth)
    for _ in range(n):
        above = [above[one] for one in above]
    return above


def test_clips_join_the_peak_of_their_neighbourhood():
    draw = np.random.default_rng(5)
    for _ in range(150):
        n = int(draw.integers(1, 30))
        media, starts = draw.integers(0, 3, n).astype(str), draw.integers(0, 20, n).astype(float)
        stops = starts + draw.integers(1, 8, n)
        scores = draw.integers(0, 6, n).astype(np.float32)
        scores[draw.random(n) < 0.2] = -np.inf
        joined = Neighbours(media, starts, stops).joined(scores)
        assert joined.tolist() == plainly_joined(media, starts, stops, scores)


def test_two_scenes_of_one_film_are_two_results():
    starts = np.arange(0, 60, 5.0)
    scores = np.array([0, 1, 5, 4, 3, 2, 1, 2, 3, 6, 2, 1], np.float32)
    joined = Neighbours(np.full(12, "film"), starts, starts + 10).joined(scores)
    assert set(joined.tolist()) == {2, 9} and joined[2] == 2 and joined[4] == 2 and joined[7] == 9
