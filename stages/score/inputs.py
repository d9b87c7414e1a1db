"""What an experiment scores, read at the edge: similarities and pairs of the clips and captions at hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cache import tables as schemas
from cache.artifact import open_artifact
from cache.errors import UserError
from pipeline import layout
from pipeline.config import ExperimentConfig
from pipeline.suggest import did_you_mean
from stages.score.similarity import cosine, fuse


class NothingToScore(UserError):
    """No clip or caption has come through; the experiment has no numbers, others go on."""


@dataclass(frozen=True)
class Inputs:
    """Attributes:
    sims: float32 (captions, clips).
    paired: bool (captions, clips).
    caption_ids: rows.
    texts: of the rows.
    clip_ids: columns.
    n_clips_missing: clips of the corpus that an encoder has no embedding of.
    """

    sims: NDArray[np.float32]
    paired: NDArray[np.bool_]
    caption_ids: list[str]
    texts: list[str]
    clip_ids: list[str]
    n_clips_missing: int


def read_inputs(config: ExperimentConfig) -> Inputs:
    """Reads tables and artifacts; only clips that every encoder of the experiment has embedded take part.

    Raises:
        NothingToScore: nothing was embedded, or nothing is paired.
        UserError: a table or artifact is missing or damaged, or the caption source is unknown.
    """
    captions = schemas.read_table(layout.table(config.corpus, "captions"), schemas.CAPTIONS)
    sources = captions["source"].unique().to_list()
    if config.captions not in sources:
        raise UserError(
            f"Corpus {config.corpus!r} has no caption source {config.captions!r}, "
            f"{did_you_mean(config.captions, sources)}"
        )
    texts = dict(captions.filter(captions["source"] == config.captions).select("caption_id", "text").iter_rows())
    clips = schemas.read_table(layout.table(config.corpus, "clips"), schemas.CLIPS)["clip_id"].to_list()
    opened = [
        tuple(open_artifact(layout.embeddings(config.corpus, name, kind)) for kind in ("captions", "clips"))
        for name in config.encoders
    ]
    caption_rows = [{one: row for row, one in enumerate(caption.ids)} for caption, _ in opened]
    clip_rows = [{one: row for row, one in enumerate(clip.ids)} for _, clip in opened]
    clip_ids = [one for one in clips if all(one in rows for rows in clip_rows)]
    caption_ids = [one for one in texts if all(one in rows for rows in caption_rows)]
    if not clip_ids or not caption_ids:
        raise NothingToScore(
            f"Corpus {config.corpus!r} has {len(clip_ids)} clips and {len(caption_ids)} captions embedded by "
            f"{' + '.join(config.encoders)}: there is nothing to score (see `hearonce problems`)."
        )
    sims = [
        cosine(text.numpy()[[rows[one] for one in caption_ids]], clip.numpy()[[columns[one] for one in clip_ids]])
        for (text, clip), rows, columns in zip(opened, caption_rows, clip_rows, strict=True)
    ]
    paired = np.zeros((len(caption_ids), len(clip_ids)), bool)
    row_of = {one: row for row, one in enumerate(caption_ids)}
    column_of = {one: column for column, one in enumerate(clip_ids)}
    pairs = schemas.read_table(layout.table(config.corpus, "pairs"), schemas.PAIRS)
    for clip_id, caption_id in pairs.iter_rows():
        if clip_id in column_of and caption_id in row_of:
            paired[row_of[caption_id], column_of[clip_id]] = True
    if not paired.any():
        raise NothingToScore(f"No caption of {config.corpus!r} is paired with an embedded clip.")
    return Inputs(
        fuse(sims, config.weights),
        paired,
        caption_ids,
        [texts[one] for one in caption_ids],
        clip_ids,
        len(clips) - len(clip_ids),
    )
