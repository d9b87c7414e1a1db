"""From measured levels to subsets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

AUDIBLE, SILENT = "audible", "silent"


def dbfs(amplitudes: NDArray[np.floating]) -> NDArray[np.float64]:
    """Amplitudes in dB relative to full scale (1): 20 log10; -inf for 0."""
    with np.errstate(divide="ignore"):
        return 20.0 * np.log10(amplitudes.astype(np.float64))


def labelled(
    clip_ids: Sequence[str], levels: NDArray[np.floating], measure: Literal["rms", "peak"], below_dbfs: float
) -> pl.DataFrame:
    """Puts each clip into one of the two subsets.

    Args:
        clip_ids: n clips.
        levels: (n, 2): peak and root mean square, linear.
        measure: which of them counts.
        below_dbfs: a clip whose level is lower is silent.

    Returns:
        A table of the schema `cache.tables.LEVELS`.
    """
    peak, rms = dbfs(levels).T
    silent = (rms if measure == "rms" else peak) < below_dbfs
    return pl.DataFrame(
        {
            "clip_id": list(clip_ids),
            "peak_dbfs": peak,
            "rms_dbfs": rms,
            "subset": np.where(silent, SILENT, AUDIBLE).tolist(),
        },
        schema={"clip_id": pl.String, "peak_dbfs": pl.Float64, "rms_dbfs": pl.Float64, "subset": pl.String},
    )


def counts(table: pl.DataFrame, n_clips: int, questions: pl.DataFrame) -> dict[str, int]:
    """How many clips, and questions by their right clip, each subset keeps.

    Args:
        table: of `labelled`.
        n_clips: of the corpus.
        questions: rows of `cache.tables.QUESTIONS`; empty if the corpus asks none.
    """
    audible = set(table.filter(pl.col("subset") == AUDIBLE)["clip_id"])
    found = {
        "clips": n_clips,
        AUDIBLE: len(audible),
        SILENT: len(table) - len(audible),
        "without_audio": n_clips - len(table),
    }
    if not questions.is_empty():
        unique = questions.unique("question_id")
        right = [clips[answer] for clips, answer in unique.select("clip_ids", "answer").iter_rows()]
        found |= {"questions": len(right), "audible_questions": sum(one in audible for one in right)}
    return found
