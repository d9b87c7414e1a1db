"""Labels of clips, from what an encoder measured: speech or other sounds, audible or silent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

SPEECH, SOUNDS = "speech", "sounds"
AUDIBLE, SILENT = "audible", "silent"


def label_speech(clip_ids: Sequence[str], seconds: NDArray[np.floating], least_share: float) -> pl.DataFrame:
    """Puts each clip into one of the two subsets.

    Args:
        clip_ids: n clips.
        seconds: (n, 2): of speech, and of the clip.
        least_share: of the clip's seconds from which on it is `speech`; without any speech it never is.

    Returns:
        A table of the schema `cache.tables.SPEECH`.
    """
    speech, duration = seconds.astype(np.float64).T
    spoken = (speech > 0) & (speech >= least_share * duration)
    return pl.DataFrame(
        {
            "clip_id": list(clip_ids),
            "duration_s": duration,
            "speech_s": speech,
            "subset": np.where(spoken, SPEECH, SOUNDS).tolist(),
        },
        schema={"clip_id": pl.String, "duration_s": pl.Float64, "speech_s": pl.Float64, "subset": pl.String},
    )


def dbfs(amplitudes: NDArray[np.floating]) -> NDArray[np.float64]:
    """Amplitudes in dB relative to full scale (1): 20 log10; -inf for 0."""
    with np.errstate(divide="ignore"):
        return 20.0 * np.log10(amplitudes.astype(np.float64))


def label_levels(
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


def level_counts(table: pl.DataFrame, n_clips: int, questions: pl.DataFrame) -> dict[str, int]:
    """How many clips, and questions by their right clip, each subset keeps.

    Args:
        table: of `label_levels`.
        n_clips: of the corpus.
        questions: rows of `cache.tables.QUESTIONS`; empty if the corpus asks none.
    """
    audible = set(table.filter(pl.col("subset") == AUDIBLE)["clip_id"])
    kept = {
        "clips": n_clips,
        AUDIBLE: len(audible),
        SILENT: len(table) - len(audible),
        "without_audio": n_clips - len(table),
    }
    if not questions.is_empty():
        unique = questions.unique("question_id")
        right = [clips[answer] for clips, answer in unique.select("clip_ids", "answer").iter_rows()]
        kept |= {"questions": len(right), "audible_questions": sum(clip in audible for clip in right)}
    return kept
