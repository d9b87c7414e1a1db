"""How the row of a sound together with a text is called."""

from __future__ import annotations

import polars as pl

_BETWEEN = "|"


def pair_id(clip_id: str, caption_id: str) -> str:
    """The id of a clip's sound with one of its captions."""
    return f"{caption_id}{_BETWEEN}{clip_id}"


def pair_ids(pairs: pl.DataFrame) -> pl.Series:
    """The ids of all rows of a table with columns `clip_id` and `caption_id`."""
    return pairs.select(pl.concat_str("caption_id", "clip_id", separator=_BETWEEN)).to_series()
