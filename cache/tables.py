"""Schemas of the Parquet tables that pass between stages; checked on write and on read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import polars as pl

from cache.durable import new_file
from cache.errors import UserError

SCHEMA_VERSION = "1"
_VERSION_KEY = "hearonce.schema"

Schema = Mapping[str, type[pl.DataType] | pl.DataType]

MEDIA: Schema = {
    "media_id": pl.String,
    "path": pl.String,
    "digest": pl.String,
    "duration_s": pl.Float64,
    "has_audio": pl.Boolean,
    "has_video": pl.Boolean,
}
CLIPS: Schema = {
    "clip_id": pl.String,
    "media_id": pl.String,
    "media_path": pl.String,
    "media_digest": pl.String,
    "start_s": pl.Float64,
    "stop_s": pl.Float64,
}
SPANS: Schema = {
    "clip_id": pl.String,
    "modality": pl.String,
    "media_id": pl.String,
    "media_path": pl.String,
    "media_digest": pl.String,
    "start_s": pl.Float64,
    "stop_s": pl.Float64,
    "start_frame": pl.Int64,
    "stop_frame": pl.Int64,
}
"""What makes up a clip's `sound` or `picture`, in playing order: the two may lie in different files, and one may go on
in a second file. Frame numbers are null where the annotations have none."""

CAPTIONS: Schema = {"caption_id": pl.String, "text": pl.String, "source": pl.String}
PAIRS: Schema = {"clip_id": pl.String, "caption_id": pl.String}
RELEVANCY: Schema = {"clip_id": pl.String, "caption_id": pl.String, "relevancy": pl.Float64}
"""Graded relevancy in [0, 1]; what is not listed is 0. Where there are rows, a caption without any is no query: it is
only the text of a clip in `PAIRS`; a query to which nothing is relevant has a row of 0 for each clip of its text. An id
`SOURCE:CLIP` names the clip that a sentence was taken from."""

QUESTIONS: Schema = {
    "question_id": pl.String,
    "caption_id": pl.String,
    "clip_ids": pl.List(pl.String),
    "answer": pl.Int64,
    "type": pl.String,
}
"""Multiple choice: the caption belongs to the clip at position `answer` of `clip_ids`; `type` is inter or intra. A
question has a row for each caption source, under the same id. Clips without media are named here all the same."""

SUBSETS: Schema = {"subset": pl.String, "kind": pl.String, "id": pl.String}
"""Subsets that come with the annotations; `kind` says what the id names: clip, caption or question."""

DESCRIPTIONS: Schema = {
    "source": pl.String,
    "caption_id": pl.String,
    "text": pl.String,
    "description": pl.String,
    "level": pl.String,
    "model": pl.String,
}
"""What language models made of captions: under which caption source, and how relevant sound is (low, moderate, high).
Null where there is no usable answer or none was asked for."""

ANSWERS: Schema = {
    "fingerprint": pl.String,
    "key": pl.String,
    "text": pl.String,
    "reply": pl.String,
    "finish": pl.String,
    "model": pl.String,
    "input_tokens": pl.Int64,
    "output_tokens": pl.Int64,
}
"""Answers of language models, letter for letter, so that a colleague does not pay for them again."""

SPEECH: Schema = {
    "clip_id": pl.String,
    "duration_s": pl.Float64,
    "speech_s": pl.Float64,
    "subset": pl.String,
}
"""How long somebody speaks in each clip that has sound, and which of the subsets `speech` and `sounds` it is in."""

LEVELS: Schema = {
    "clip_id": pl.String,
    "peak_dbfs": pl.Float64,
    "rms_dbfs": pl.Float64,
    "subset": pl.String,
}
"""How loud each clip with audio is (-inf: digital silence), and its subset, `audible` or `silent`."""

MAP: Schema = {"clip_id": pl.String, "x": pl.Float32, "y": pl.Float32}
"""Where each clip of an embedding cache stands in two dimensions."""

AUDIO: Schema = {
    "media_id": pl.String,
    "digest": pl.String,
    "recipe": pl.String,
    "sample_rate": pl.Int64,
    "channels": pl.Int64,
    "n_samples": pl.Int64,
}
PROBLEMS: Schema = {"stage": pl.String, "id": pl.String, "path": pl.String, "reason": pl.String}
QUERIES: Schema = {
    "experiment": pl.String,
    "direction": pl.String,
    "kind": pl.String,
    "query_id": pl.String,
    "rank": pl.Float64,
    "average_precision": pl.Float64,
    "ndcg": pl.Float64,
    "correct": pl.Float64,
}
"""What each query of an experiment scored; nan where the protocol has no such number."""

CLASSES: Schema = {
    "experiment": pl.String,
    "direction": pl.String,
    "class": pl.String,
    "metric": pl.String,
    "value": pl.Float64,
}
"""Numbers per class of clip, where the protocol has classes."""


def write_table(
    frame: pl.DataFrame, schema: Schema, path: Path, notes: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Writes a table whole or not at all.

    Raises:
        ValueError: a column is missing, superfluous or of another type than the schema's.
    """
    if frame.schema != pl.Schema(schema):
        raise ValueError(f"{path}: columns {dict(frame.schema)} do not fit the schema {schema}")
    with new_file(path) as temporary:
        frame.write_parquet(temporary, metadata={_VERSION_KEY: SCHEMA_VERSION, **notes})


def read_note(path: Path, name: str) -> str | None:
    """A note written with a table; None if it, or the table, is not there."""
    try:
        return pl.read_parquet_metadata(path).get(name)
    except (pl.exceptions.PolarsError, OSError):
        return None


def read_table(path: Path, schema: Schema, where: pl.Expr | None = None) -> pl.DataFrame:
    """Reads a table and checks it.

    Args:
        path: of the file.
        schema: that it must have.
        where: which rows; the others take no memory.

    Raises:
        UserError: the file is missing, no Parquet, of a newer version, or its columns do not fit.
    """
    try:
        version = pl.read_parquet_metadata(path).get(_VERSION_KEY, "0")
        rows = pl.scan_parquet(path)
        found = rows.collect_schema()
        if not version.isdigit() or int(version) > int(SCHEMA_VERSION):
            raise UserError(
                f"{path} has table version {version}, this hearonce reads up to {SCHEMA_VERSION}: update it."
            )
        if found != pl.Schema(schema):
            raise UserError(f"{path} has columns {found.names()}, expected {list(schema)}: run `dvc repro --force`.")
        return (rows if where is None else rows.filter(where)).collect()
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run `dvc repro`, or `dvc pull` if a colleague has made it.") from None
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UserError(f"{path} cannot be read as Parquet ({error}): delete it and run `dvc repro`.") from None


def table(rows: list[dict], schema: Schema) -> pl.DataFrame:
    """Builds a table from rows, empty ones included."""
    return pl.DataFrame(rows, schema=dict(schema))
