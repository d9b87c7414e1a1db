"""`hearonce cache forget`: drop all that was made from some media, so that the next run makes it again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
import typer

from cache import maintenance
from cache import tables as schemas
from cache.artifact import open_artifact
from cache.errors import UserError
from cache.key_index import KeyIndex
from cache.keys import clip_keys
from cache.location import Store
from cache.row_store import RowStore
from pipeline import layout
from pipeline.cache_commands.audio import audio_folders, drop
from pipeline.cache_commands.found import artifact_paths, known_renditions, store_paths
from pipeline.cache_commands.showing import AsJson, DryRun, show_json, show_table
from pipeline.cache_commands.tidying import refuse_shared


def forget(
    media: Annotated[list[str], typer.Argument(help="Media, as `data/tables/CORPUS/media.parquet` names them.")],
    shared: Annotated[
        bool, typer.Option("--shared", help="Also where $HEARONCE_STORE is set, which others may use.")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Drop the rows and the extracted audio of media, of all encoders: for rows that are known to be wrong.

    An artifact that dvc.lock names would bring the rows back: delete dvc.lock before the next `dvc repro`, which then
    takes all other rows from the store.
    """
    root = Store.default()
    stores, folders = store_paths(root.rows), audio_folders(root.audio)
    if not shared:
        refuse_shared([*stores, *map(str, folders)])
    digests, keys = _made_from(media)
    lines = []
    for path in stores:
        store = RowStore.open(path)
        kept = store.keys()
        kept = kept[KeyIndex([keys]).find(kept) < 0]
        change = maintenance.gc(store, kept, dry_run=dry_run)
        lines.append({"store": path, "rows dropped": change.rows_removed, "files dropped": 0})
    for folder in folders:
        flacs = [one for digest in sorted(digests) if (one := folder / digest[:2] / f"{digest}.flac").is_file()]
        drop(flacs, dry_run=dry_run)
        lines.append({"store": str(folder), "rows dropped": 0, "files dropped": len(flacs)})
    if as_json:
        show_json([{name.replace(" ", "_"): value for name, value in line.items()} for line in lines])
    else:
        show_table("would be done" if dry_run else "done", lines)
        print("Now delete dvc.lock (its artifacts would bring the rows back) and run `dvc repro`.")


def _made_from(media: Sequence[str]) -> tuple[set[str], np.ndarray]:
    """Digests of media, and the keys of all rows of clips that lie in them.

    Raises:
        UserError: no table names one of them.
    """
    digests: set[str] = set()
    known: set[str] = set()
    keys: list[np.ndarray] = [np.zeros((0, 16), np.uint8)]
    for path in sorted((layout.DATA / "tables").glob("*/spans.parquet")):
        named = pl.col("path").is_in(media) | pl.col("media_id").is_in(media) | pl.col("digest").is_in(media)
        table = schemas.read_table(path.with_name("media.parquet"), schemas.MEDIA).filter(named)
        for column in ("path", "media_id", "digest"):
            known |= set(table[column])
        digests |= set(table["digest"])
        keys += _keys(path, table["digest"])
    if missing := sorted(set(media) - known):
        raise UserError(
            f"No table in data/ names a medium {missing[0]!r}: give paths as `hearonce problems` has them, or digests."
        )
    return digests, np.concatenate(keys)


def _keys(path: Path, digests: pl.Series) -> Iterator[np.ndarray]:
    """Of the rows of a corpus whose clips lie in these media: by its tables, and as its artifacts have them."""
    spans = schemas.read_table(path, schemas.SPANS)
    clips = spans.filter(pl.col("media_digest").is_in(digests.implode()))["clip_id"].unique()
    spans = spans.filter(pl.col("clip_id").is_in(clips.implode()))
    if spans.is_empty():
        return
    stretches = spans.select(pl.struct("clip_id", "modality").rle().struct.field("len")).to_series()
    for rendition in known_renditions(path.parent.name):
        yield clip_keys(spans["media_digest"], spans["start_s"], spans["stop_s"], rendition, stretches)
    for artifact_path in artifact_paths(layout.DATA / "embeddings" / path.parent.name):
        artifact = open_artifact(artifact_path)
        if artifact.description.get("modality") != "captions":
            yield artifact.keys[pl.Series(artifact.ids, dtype=pl.String).is_in(clips.implode()).to_numpy()]
