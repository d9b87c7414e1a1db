"""What an experiment scores, read at the edge: embeddings of the clips and captions at hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cache import tables as schemas
from cache.artifact import Artifact, open_artifact
from cache.errors import UserError
from pipeline.config import layout
from pipeline.config.experiments import ExperimentConfig
from pipeline.config.subsets import read_extended
from pipeline.console.text import did_you_mean
from stages.score.functional.ranking import Array
from stages.score.items import Pairs, StoredRows
from stages.score.retrieval import score_memory


class NothingToScore(UserError):
    """No clip or caption has come through; the experiment has no numbers, others go on."""


class EmbeddingReader:
    """Embedding caches of a run: each is opened once, and read once while its rows fit into memory.

    Args:
        memory: bytes that kept rows may take up; a quarter of what scoring may take by default.
    """

    def __init__(self, memory: float | None = None) -> None:
        self._left = score_memory() / 4 if memory is None else memory
        self._opened: dict[Path, KeptRows] = {}

    def open(self, path: Path) -> KeptRows:
        """An embedding cache.

        Raises:
            UserError: it is missing or damaged.
        """
        if path not in self._opened:
            artifact = open_artifact(path)
            n_bytes = math.prod(artifact.shape) * artifact.format.storage.itemsize
            kept = not artifact.format.ragged and n_bytes <= self._left
            self._left -= n_bytes if kept else 0
            self._opened[path] = KeptRows(artifact, kept)
        return self._opened[path]


class KeptRows:
    """Rows of an artifact, all of them read at once when the first are asked for.

    Args:
        artifact: the embedding cache.
        kept: whether the rows are kept, or read each time.
    """

    def __init__(self, artifact: Artifact, kept: bool) -> None:
        self.artifact, self.shape, self._kept = artifact, artifact.shape, kept

    @cached_property
    def _rows(self) -> Array:
        return self.artifact.numpy()

    def __getitem__(self, numbers: Any) -> Any:
        return self._rows[numbers] if self._kept else self.artifact[numbers]


@dataclass(frozen=True, eq=False)
class Captions:
    """Captions that every encoder of an experiment has embedded, in table order.

    Attributes:
        ids: m captions.
        texts: of the captions.
        rows: per encoder, (m, dim).
    """

    ids: list[str]
    texts: list[str]
    rows: list[StoredRows]

    def places(self) -> dict[str, int]:
        """Caption id -> row."""
        return {one: row for row, one in enumerate(self.ids)}


@dataclass(frozen=True, eq=False)
class Embedded:
    """Clips and captions that every encoder of an experiment has embedded.

    Attributes:
        clip_ids: n clips, in table order.
        clips: per encoder, (n, dim).
        captions: of each caption source that the experiment names.
        n_clips_missing: clips of the corpus that an encoder has no embedding of.
    """

    clip_ids: list[str]
    clips: list[StoredRows]
    captions: dict[str, Captions]
    n_clips_missing: int


def read_embedded(config: ExperimentConfig, reader: EmbeddingReader) -> Embedded:
    """Reads tables and the ids of artifacts; their rows are read when they are asked for.

    Raises:
        NothingToScore: nothing was embedded.
        UserError: a table or artifact is missing or damaged, or a caption source is unknown.
    """
    clips = schemas.read_table(layout.table(config.corpus, "clips"), schemas.CLIPS)["clip_id"]
    clip_ids, clip_rows = _joined(config, "clips", clips, reader)
    table = read_extended(config.corpus, "captions")
    captions = {source: _captions(config, source, table, reader) for source in dict.fromkeys(config.sources())}
    for one in captions.values():
        _check_comparable(config, clip_rows, one.rows)
    n_captions = min(len(one.ids) for one in captions.values())
    if clip_ids.is_empty() or not n_captions:
        raise NothingToScore(
            f"Corpus {config.corpus!r} has {len(clip_ids)} clips and {n_captions} captions embedded by "
            f"{' + '.join(config.encoders)}: there is nothing to score (see `hearonce problems`)."
        )
    return Embedded(clip_ids.to_list(), clip_rows, captions, len(clips) - len(clip_ids))


def read_clips(
    config: ExperimentConfig, reader: EmbeddingReader
) -> tuple[list[str], list[StoredRows], list[StoredRows], int]:
    """Clips of which every encoder has embedded the modality of the query and that of the gallery.

    Returns:
        Their ids, in table order; their rows as queries and as gallery, per encoder (n, dim); and how many clips of
        the corpus are not among them.

    Raises:
        NothingToScore: there are none.
        UserError: a table or artifact is missing or damaged.
    """
    clips = schemas.read_table(layout.table(config.corpus, "clips"), schemas.CLIPS)["clip_id"]
    queries = [layout.of_modality(encoder, config.query) for encoder in config.encoders]
    opened = [
        reader.open(layout.embeddings(config.corpus, encoder, "clips")) for encoder in [*queries, *config.encoders]
    ]
    ids, rows = embedded_rows(opened, clips)
    if ids.is_empty():
        raise NothingToScore(
            f"Corpus {config.corpus!r} has no clip embedded by {' + '.join([*queries, *config.encoders])}: there is "
            "nothing to score (see `hearonce problems`)."
        )
    n = len(queries)
    _check_comparable(config, rows[n:], rows[:n])
    return ids.to_list(), rows[:n], rows[n:], len(clips) - len(ids)


def _check_comparable(config: ExperimentConfig, clips: Sequence[StoredRows], captions: Sequence[StoredRows]) -> None:
    for name, own, others in zip(config.encoders, clips, captions, strict=True):
        if own.shape[1] != others.shape[1]:
            raise UserError(
                f"Encoder {name!r} cannot be scored: its clips are rows of {own.shape[1]} numbers "
                f"({layout.embeddings(config.corpus, name, 'clips')}), its queries of {others.shape[1]}; "
                "both must come from one model."
            )


def _captions(config: ExperimentConfig, source: str, table: pl.DataFrame, reader: EmbeddingReader) -> Captions:
    sources = table["source"].unique().to_list()
    if source not in sources:
        raise UserError(
            f"Corpus {config.corpus!r} has no caption source {source!r} (`hearonce ingest {config.corpus}` says if "
            f"files of it are missing), {did_you_mean(source, sources)}"
        )
    own = table.filter(pl.col("source") == source).unique("caption_id", keep="first", maintain_order=True)
    ids, rows = _joined(config, "captions", own["caption_id"], reader)
    texts = matches(ids, own["caption_id"])
    return Captions(ids.to_list(), own["text"].gather(texts).to_list(), rows)


def _joined(
    config: ExperimentConfig, items: str, ids: pl.Series, reader: EmbeddingReader
) -> tuple[pl.Series, list[StoredRows]]:
    """Those of the ids that every encoder has embedded, and their rows per encoder."""
    opened = [reader.open(layout.embeddings(config.corpus, name, items)) for name in config.encoders]
    return embedded_rows(opened, ids)


def embedded_rows(opened: Sequence[KeptRows], ids: pl.Series) -> tuple[pl.Series, list[StoredRows]]:
    """Those of the ids that all artifacts have, in their order, and where their rows lie in each.

    Raises:
        UserError: an artifact has a row per frame, which nothing here compares.
    """
    artifacts = [rows.artifact for rows in opened]
    for artifact in artifacts:
        if artifact.format.ragged:
            raise UserError(f"{artifact.path} holds many rows of each clip or caption: only one of each can be scored.")
    places = [matches(ids, pl.Series(artifact.ids, dtype=pl.String)) for artifact in artifacts]
    kept = np.all([place >= 0 for place in places], axis=0)
    rows = [StoredRows(source, place[kept]) for source, place in zip(opened, places, strict=True)]
    return ids.filter(pl.Series(kept, dtype=pl.Boolean)), rows


def matches(ids: pl.Series, among: pl.Series) -> NDArray[np.int64]:
    """Where each id stands among others, -1 where it does not."""
    known = pl.DataFrame({"id": among, "place": np.arange(len(among))}).unique("id", keep="last")
    asked = pl.DataFrame({"id": ids, "order": np.arange(len(ids))})
    found = asked.join(known, on="id", how="left").sort("order")["place"].fill_null(-1)
    return found.to_numpy().astype(np.int64)


def read_pairs(corpus: str, captions: Sequence[str], clips: Sequence[str]) -> Pairs:
    """Which of these captions describe which of these clips, by number.

    Raises:
        UserError: the table cannot be read.
    """
    table = read_extended(corpus, "pairs")
    numbers = [
        matches(table[column], pl.Series(ids, dtype=pl.String))
        for column, ids in (("caption_id", captions), ("clip_id", clips))
    ]
    both = (numbers[0] >= 0) & (numbers[1] >= 0)
    return Pairs.of(numbers[0][both], numbers[1][both])
