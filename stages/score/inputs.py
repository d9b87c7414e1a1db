"""What an experiment scores, read at the edge: embeddings of the clips and captions at hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache import tables as schemas
from cache.artifact import open_artifact
from cache.errors import UserError
from pipeline import layout
from pipeline.config import ExperimentConfig
from pipeline.corpus_tables import read_extended
from pipeline.suggest import did_you_mean


class NothingToScore(UserError):
    """No clip or caption has come through; the experiment has no numbers, others go on."""


@dataclass(frozen=True, eq=False)
class Embedded:
    """Clips and captions that every encoder of an experiment has embedded, in the order of their tables.

    Attributes:
        clip_ids: n clips.
        caption_ids: m captions.
        texts: of the captions.
        clips: per encoder, float32 (n, dim).
        captions: per encoder, float32 (m, dim).
        n_clips_missing: clips of the corpus that an encoder has no embedding of.
    """

    clip_ids: list[str]
    caption_ids: list[str]
    texts: list[str]
    clips: list[NDArray[np.float32]]
    captions: list[NDArray[np.float32]]
    n_clips_missing: int


def read_embedded(config: ExperimentConfig) -> Embedded:
    """Reads tables and artifacts.

    Raises:
        NothingToScore: nothing was embedded.
        UserError: a table or artifact is missing or damaged, or the caption source is unknown.
    """
    table = read_extended(config.corpus, "captions")
    sources = table["source"].unique().to_list()
    if config.captions not in sources:
        raise UserError(
            f"Corpus {config.corpus!r} has no caption source {config.captions!r}, "
            f"{did_you_mean(config.captions, sources)}"
        )
    texts = dict(table.filter(table["source"] == config.captions).select("caption_id", "text").iter_rows())
    clips = schemas.read_table(layout.table(config.corpus, "clips"), schemas.CLIPS)["clip_id"].to_list()
    clip_ids, clip_rows = _joined(config, "clips", clips)
    caption_ids, caption_rows = _joined(config, "captions", list(texts))
    if not clip_ids or not caption_ids:
        raise NothingToScore(
            f"Corpus {config.corpus!r} has {len(clip_ids)} clips and {len(caption_ids)} captions embedded by "
            f"{' + '.join(config.encoders)}: there is nothing to score (see `hearonce problems`)."
        )
    return Embedded(
        clip_ids,
        caption_ids,
        [texts[one] for one in caption_ids],
        clip_rows,
        caption_rows,
        len(clips) - len(clip_ids),
    )


def _joined(config: ExperimentConfig, modality: str, ids: list[str]) -> tuple[list[str], list[NDArray[Any]]]:
    """Those of the ids that every encoder has embedded, and their rows per encoder."""
    opened = [open_artifact(layout.embeddings(config.corpus, name, modality)) for name in config.encoders]
    places = [{one: row for row, one in enumerate(artifact.ids)} for artifact in opened]
    kept = [one for one in ids if all(one in rows for rows in places)]
    return kept, [artifact.numpy()[[rows[one] for one in kept]] for artifact, rows in zip(opened, places, strict=True)]
