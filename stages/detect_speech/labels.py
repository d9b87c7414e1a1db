"""From seconds of speech to subsets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

SPEECH, SOUNDS = "speech", "sounds"


def labelled(clip_ids: Sequence[str], seconds: NDArray[np.floating], least_share: float) -> pl.DataFrame:
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
