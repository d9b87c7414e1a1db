"""Cached embeddings as Parquet that vector databases load: an id, a vector and what is known of each clip.

Qdrant, LanceDB and Milvus take a column of lists of one length as vectors. No media go with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from cache.artifact import Artifact, open_artifact
from cache.durable import new_directory
from cache.errors import UserError
from cache.tables import CLIPS, read_table
from pipeline.config import layout
from pipeline.config.subsets import read_extended

PART_ROWS = 1 << 17


def export_vectors(corpus: str, encoder: str, folder: Path) -> int:
    """Writes the embeddings of a corpus's clips as a folder of Parquet files, the tables of `clip_tables`.

    Args:
        corpus: whose clips.
        encoder: that has embedded them.
        folder: a new one; written whole or not at all.

    Returns:
        Rows written.

    Raises:
        UserError: nothing is embedded, rows differ in length, or the folder exists.
    """
    count = 0
    with new_export(folder) as temporary:
        for part, table in enumerate(clip_tables(corpus, encoder)):
            table.write_parquet(temporary / f"clips-{part:05}.parquet")
            count += len(table)
    return count


@contextmanager
def new_export(folder: Path) -> Iterator[Path]:
    """A folder to write in that gets its name at the end of the block, or is gone.

    Raises:
        UserError: there is a folder of that name.
    """
    if folder.exists():
        raise UserError(f"{folder} exists: name a new folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with new_directory(folder) as temporary:
        yield temporary


def clip_artifact(corpus: str, encoder: str) -> Artifact:
    """The embeddings of a corpus's clips.

    Raises:
        UserError: nothing is embedded, or rows differ in length.
    """
    source = layout.embeddings(corpus, encoder, "clips")
    if not source.exists():
        raise UserError(f"{source} is missing: run `dvc repro`, or `hearonce embed {corpus} {encoder}`.")
    artifact = open_artifact(source)
    if artifact.format.ragged:
        raise UserError(f"{source} holds many rows of each clip: vector databases take one.")
    return artifact


def with_vectors(known: pl.DataFrame, artifact: Artifact) -> Iterator[pl.DataFrame]:
    """What is known of the rows of an artifact with their vectors as `vector`, `PART_ROWS` rows at a time."""
    for start in range(0, len(artifact), PART_ROWS):
        stop = min(len(artifact), start + PART_ROWS)
        vectors = pl.Series(artifact.read_float32(start, stop), dtype=pl.Array(pl.Float32, artifact.format.dim))
        yield known[start:stop].with_columns(vectors.alias("vector"))


def clip_tables(corpus: str, encoder: str) -> Iterator[pl.DataFrame]:
    """The embeddings of a corpus's clips and what is known of them, `PART_ROWS` rows at a time.

    Columns: `id`, `vector` (fixed-size list of float32, not divided by its length), `corpus`, `encoder`, `fingerprint`,
    `file`, `start_s`, `stop_s`, `captions`.

    Raises:
        UserError: nothing is embedded, or rows differ in length.
    """
    artifact = clip_artifact(corpus, encoder)
    captions = (
        read_extended(corpus, "pairs")
        .join(read_extended(corpus, "captions"), on="caption_id")
        .group_by("clip_id", maintain_order=True)
        .agg(captions=pl.col("text").unique(maintain_order=True))
    )
    clips = read_table(layout.table(corpus, "clips"), CLIPS).select("clip_id", "start_s", "stop_s", file="media_path")
    known = (
        pl.DataFrame({"clip_id": artifact.ids})
        .join(clips, on="clip_id", how="left", maintain_order="left")
        .join(captions, on="clip_id", how="left", maintain_order="left")
        .with_columns(pl.col("captions").fill_null(pl.lit([], pl.List(pl.String))))
    )
    fingerprint = str(artifact.description.get("fingerprint", ""))
    for table in with_vectors(known, artifact):
        yield table.select(
            pl.col("clip_id").alias("id"),
            "vector",
            pl.lit(corpus).alias("corpus"),
            pl.lit(encoder).alias("encoder"),
            pl.lit(fingerprint).alias("fingerprint"),
            "file",
            "start_s",
            "stop_s",
            "captions",
        )
