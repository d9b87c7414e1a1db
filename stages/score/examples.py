"""Single queries worth looking at, and a similarity matrix small enough to look at."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.score.inputs import Inputs
from stages.score.paired_retrieval import DirectionResult

N_BEST, N_WORST, N_TOP = 5, 5, 5
HEATMAP_SIZE = 400


def best_and_worst(inputs: Inputs, result: DirectionResult) -> list[dict[str, Any]]:
    """Captions that found their clip first and those that found it last, with what they found instead.

    Args:
        inputs: of the experiment.
        result: text to clip over all clips.

    Returns:
        Records of caption, rank, expected clip and the clips on top; best ones first.
    """
    # Among equally good queries the clearest win, among equally bad the widest miss.
    by_rank = np.lexsort((-_margin(inputs, result), result.ranks))
    worst = by_rank[max(N_BEST, len(by_rank) - N_WORST) :][::-1]
    chosen = [("best", one) for one in by_rank[:N_BEST]] + [("worst", one) for one in worst]
    return [{"kind": kind, **_example(inputs, result, int(one))} for kind, one in chosen]


def _margin(inputs: Inputs, result: DirectionResult) -> NDArray[np.float64]:
    sims, paired = inputs.sims[result.queries], inputs.paired[result.queries]
    best = np.where(paired, sims, -np.inf).max(axis=1, initial=-np.inf)
    other = np.where(paired, -np.inf, sims).max(axis=1, initial=-2.0)
    return (best - np.maximum(other, -2.0)).astype(np.float64)


def _example(inputs: Inputs, result: DirectionResult, number: int) -> dict[str, Any]:
    row = int(result.queries[number])
    sims, paired = inputs.sims[row], inputs.paired[row]
    top = np.argsort(-sims, kind="stable")[:N_TOP]
    return {
        "caption": inputs.texts[row],
        "rank": float(result.ranks[number]),
        "expected": inputs.clip_ids[int(np.where(paired, sims, -np.inf).argmax())],
        "top": [
            {"clip": inputs.clip_ids[one], "similarity": round(float(sims[one]), 4), "is_match": bool(paired[one])}
            for one in top
        ],
    }


def heatmap(inputs: Inputs) -> dict[str, NDArray[Any]]:
    """A sample of the similarity matrix, each caption on the row of its (first) clip.

    Returns:
        `sims` float32 (captions, clips), `captions` and `clips` their labels.
    """
    described = np.flatnonzero(inputs.paired.any(axis=1))
    first_clip = inputs.paired[described].argmax(axis=1)
    rows = described[np.argsort(first_clip, kind="stable")]
    columns = np.sort(np.unique(first_clip))
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), HEATMAP_SIZE)).astype(int)]
    columns = columns[np.linspace(0, len(columns) - 1, min(len(columns), HEATMAP_SIZE)).astype(int)]
    return {
        "sims": inputs.sims[np.ix_(rows, columns)],
        "captions": np.array([inputs.texts[row] for row in rows]),
        "clips": np.array([inputs.clip_ids[column] for column in columns]),
    }
