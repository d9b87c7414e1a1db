"""What an experiment scores, read at the edge: embeddings of the clips and captions at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cache import tables as schemas
from cache.artifact import open_artifact
from cache.errors import UserError
from pipeline import layout
from pipeline.config.experiment import ExperimentConfig
from pipeline.corpus_tables import read_extended
from pipeline.suggest import did_you_mean


class NothingToScore(UserError):
    """No clip or caption has come through; the experiment has no numbers, others go on."""


@dataclass(frozen=True, eq=False)
class Captions:
    """Captions that every encoder of an experiment has embedded, in table order.

    Attributes:
        ids: m captions.
        texts: of the captions.
        rows: per encoder, float32 (m, dim).
    """

    ids: list[str]
    texts: list[str]
    rows: list[NDArray[np.float32]]

    def places(self) -> dict[str, int]:
        """Caption id -> row."""
        return {one: row for row, one in enumerate(self.ids)}


@dataclass(frozen=True, eq=False)
class Embedded:
    """Clips and captions that every encoder of an experiment has embedded.

    Attributes:
        clip_ids: n clips, in table order.
        clips: per encoder, float32 (n, dim).
        captions: of each caption source that the experiment names.
        n_clips_missing: clips of the corpus that an encoder has no embedding of.
    """

    clip_ids: list[str]
    clips: list[NDArray[np.float32]]
    captions: dict[str, Captions]
    n_clips_missing: int


def read_embedded(config: ExperimentConfig) -> Embedded:
    """Reads tables and artifacts.

    Raises:
        NothingToScore: nothing was embedded.
        UserError: a table or artifact is missing or damaged, or a caption source is unknown.
    """
    clips = schemas.read_table(layout.table(config.corpus, "clips"), schemas.CLIPS)["clip_id"].to_list()
    clip_ids, clip_rows = _joined(config, "clips", clips)
    table = read_extended(config.corpus, "captions")
    captions = {source: _captions(config, source, table) for source in dict.fromkeys(config.sources())}
    n_captions = min(len(one.ids) for one in captions.values())
    if not clip_ids or not n_captions:
        raise NothingToScore(
            f"Corpus {config.corpus!r} has {len(clip_ids)} clips and {n_captions} captions embedded by "
            f"{' + '.join(config.encoders)}: there is nothing to score (see `hearonce problems`)."
        )
    return Embedded(clip_ids, clip_rows, captions, len(clips) - len(clip_ids))


def _captions(config: ExperimentConfig, source: str, table: pl.DataFrame) -> Captions:
    sources = table["source"].unique().to_list()
    if source not in sources:
        raise UserError(
            f"Corpus {config.corpus!r} has no caption source {source!r} (`hearonce ingest {config.corpus}` says if "
            f"files of it are missing), {did_you_mean(source, sources)}"
        )
    texts = dict(table.filter(pl.col("source") == source).select("caption_id", "text").iter_rows())
    ids, rows = _joined(config, "captions", list(texts))
    return Captions(ids, [texts[one] for one in ids], rows)


def _joined(config: ExperimentConfig, modality: str, ids: Sequence[str]) -> tuple[list[str], list[NDArray[Any]]]:
    """Those of the ids that every encoder has embedded, and their rows per encoder."""
    opened = [open_artifact(layout.embeddings(config.corpus, name, modality)) for name in config.encoders]
    places = [{one: row for row, one in enumerate(artifact.ids)} for artifact in opened]
    kept = [one for one in ids if all(one in rows for rows in places)]
    return kept, [artifact.numpy()[[rows[one] for one in kept]] for artifact, rows in zip(opened, places, strict=True)]
