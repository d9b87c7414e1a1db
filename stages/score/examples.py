"""Single queries worth looking at, and a similarity matrix small enough to look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

N_BEST, N_WORST, N_TOP = 5, 5, 5
HEATMAP_SIZE = 400


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
    # Among equally good queries the clearest win, among equally bad the widest miss.
    by_rank = np.lexsort((-_margin(sims[rows], paired[rows]), ranks))
    worst = by_rank[max(N_BEST, len(by_rank) - N_WORST) :][::-1]
    chosen = [("best", one) for one in by_rank[:N_BEST]] + [("worst", one) for one in worst]
    return [
        {
            "kind": kind,
            "caption": texts[rows[one]],
            "rank": float(ranks[one]),
            **_answers(sims[rows[one]], paired[rows[one]], clip_ids),
        }
        for kind, one in chosen
    ]


def _margin(sims: NDArray[np.float32], paired: NDArray[np.bool_]) -> NDArray[np.float64]:
    best = np.where(paired, sims, -np.inf).max(axis=1, initial=-np.inf)
    other = np.where(paired, -np.inf, sims).max(axis=1, initial=-2.0)
    return (best - np.maximum(other, -2.0)).astype(np.float64)


def _answers(sims: NDArray[np.float32], paired: NDArray[np.bool_], clip_ids: Sequence[str]) -> dict[str, Any]:
    top = np.argsort(-sims, kind="stable")[:N_TOP]
    return {
        "expected": clip_ids[int(np.where(paired, sims, -np.inf).argmax())],
        "top": [
            {"clip": clip_ids[one], "similarity": round(float(sims[one]), 4), "is_match": bool(paired[one])}
            for one in top
        ],
    }


def heatmap(
    sims: NDArray[np.float32], paired: NDArray[np.bool_], texts: Sequence[str], clip_ids: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """A sample of the similarity matrix, each caption on the row of its (first) clip.

    Returns:
        `sims` float32 (captions, clips), `captions` and `clips` their labels.
    """
    described = np.flatnonzero(paired.any(axis=1))
    first_clip = paired[described].argmax(axis=1)
    rows = described[np.argsort(first_clip, kind="stable")]
    columns = np.sort(np.unique(first_clip))
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), HEATMAP_SIZE)).astype(int)]
    columns = columns[np.linspace(0, len(columns) - 1, min(len(columns), HEATMAP_SIZE)).astype(int)]
    return {
        "sims": sims[np.ix_(rows, columns)],
        "captions": np.array([texts[row] for row in rows]),
        "clips": np.array([clip_ids[column] for column in columns]),
    }
