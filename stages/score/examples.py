"""Single queries worth looking at, and a similarity matrix small enough to look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

N_BEST, N_WORST, N_TOP = 5, 5, 5
HEATMAP_SIZE = 400
LEAST_SIMILAR = -2.0
"""Stands for the best wrong answer where there is none."""


def best_and_worst(
    sims: NDArray[np.float32],
    paired: NDArray[np.bool_],
    rows: NDArray[np.int64],
    ranks: NDArray[np.float64],
    texts: Sequence[str],
    clip_ids: Sequence[str],
) -> list[dict[str, Any]]:
    """Captions that found their clip first and those that found it last, with what they found instead.

    Args:
        sims: (captions, clips).
        paired: (captions, clips), True for right answers.
        rows: (q,) captions that were queries.
        ranks: (q,) of their best right answers.
        texts: of all captions.
        clip_ids: of the clips.

    Returns:
        Records of caption, rank, expected clip and the clips on top; best ones first.
    """
    found = []
    for kind, one in ends(ranks, margins(sims[rows], paired[rows])):
        row = rows[one]
        own = int(np.where(paired[row], sims[row], -np.inf).argmax())
        top = [
            (clip_ids[clip], sims[row, clip], bool(paired[row, clip]))
            for clip in np.argsort(-sims[row], kind="stable")[:N_TOP]
        ]
        found.append(record(kind, texts[row], float(ranks[one]), clip_ids[own], top))
    return found


def ends(ranks: NDArray[np.float64], margins: NDArray[np.float64]) -> list[tuple[str, int]]:
    """Which queries are shown: `best` and `worst`, and their numbers.

    Args:
        ranks: (q,).
        margins: (q,) by how much the right answer is ahead of the best wrong one.
    """
    # Among equally good queries the clearest win, among equally bad the widest miss.
    by_rank = np.lexsort((-margins, ranks)).tolist()
    worst = by_rank[::-1][: max(0, min(N_WORST, len(ranks) - N_BEST))]
    return [("best", one) for one in by_rank[:N_BEST]] + [("worst", one) for one in worst]


def record(
    kind: str, caption: str, rank: float, expected: str, top: Sequence[tuple[str, np.float32, bool]]
) -> dict[str, Any]:
    """A query in the form that the report reads; `top` is clip, similarity and whether it is right, best first."""
    return {
        "kind": kind,
        "caption": caption,
        "rank": rank,
        "expected": expected,
        "top": [
            {"clip": clip, "similarity": round(float(similarity), 4), "is_match": right}
            for clip, similarity, right in top
        ],
    }


def margins(sims: NDArray[np.float32], paired: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(q,) by how much the best right answer is more similar than the best wrong one."""
    best = np.where(paired, sims, -np.inf).max(axis=1, initial=-np.inf)
    other = np.where(paired, -np.inf, sims).max(axis=1, initial=LEAST_SIMILAR)
    return (best - np.maximum(other, LEAST_SIMILAR)).astype(np.float64)


def heatmap(
    sims: NDArray[np.float32], paired: NDArray[np.bool_], texts: Sequence[str], clip_ids: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """A sample of the similarity matrix, each caption on the row of its (first) clip.

    Returns:
        `sims` float32 (captions, clips), `captions` and `clips` their labels.
    """
    described = np.flatnonzero(paired.any(axis=1))
    rows, columns = heatmap_cells(described, paired[described].argmax(axis=1))
    return labelled(sims[np.ix_(rows, columns)], rows, columns, texts, clip_ids)


def heatmap_cells(
    described: NDArray[np.int64], first_clip: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which captions and clips a heatmap shows.

    Args:
        described: (c,) numbers of the captions that belong to a clip.
        first_clip: (c,) the first of each.
    """
    rows = described[np.argsort(first_clip, kind="stable")]
    columns = np.unique(first_clip)
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), HEATMAP_SIZE)).astype(int)]
    return rows, columns[np.linspace(0, len(columns) - 1, min(len(columns), HEATMAP_SIZE)).astype(int)]


def labelled(
    sims: NDArray[np.float32],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    texts: Sequence[str],
    clip_ids: Sequence[str],
) -> dict[str, NDArray[Any]]:
    """A heatmap's arrays: similarities of these captions and clips, and what they are called."""
    return {
        "sims": sims,
        "captions": np.array([texts[row] for row in rows]),
        "clips": np.array([clip_ids[column] for column in columns]),
    }
