"""`hearonce cache gc`, `compact` and `forget`: drop rows and extracted audio, merge small segments."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
import typer

from cache.artifact import open_artifact
from cache.digests import forget_absent
from cache.errors import UserError
from cache.location import STORE_VARIABLE, LocalLocation, Store, location_of
from cache.row_store import RowStore
from cache.tables import MEDIA, SPANS, read_table
from cache.upkeep import compaction
from pipeline.commands.cache.audio import audio_folders, drop, unwanted, wanted_audio
from pipeline.commands.cache.inventory import (
    artifact_paths,
    chosen_stores,
    keys_of_spans,
    known_renditions,
    store_paths,
    wanted_keys,
)
from pipeline.config import layout
from pipeline.console.app import AsJson, DryRun, Shared
from pipeline.console.tables import print_records

Removed = tuple[str, int, int]
"""Where files were removed (or remembered digests forgotten), how many, and their bytes."""

Stores = Annotated[list[str] | None, typer.Argument(help="Row stores; all of the project by default.")]


def gc(
    stores: Stores = None,
    keep: Annotated[
        list[str] | None, typer.Option(help="An embedding cache whose rows stay, too; may be given again.")
    ] = None,
    shared: Shared = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Drop the rows and the extracted audio that no table and no embedding cache of the project asks for.

    Rows of every encoder stay for all clips and captions of the tables and embedding caches in data/, and audio for all
    their media. Answers of language models stay: they were paid for. Audio goes only where tables tell what is wanted,
    and where no store is named, or one in which it lies.
    """
    folders = [folder for path in stores or [str(Store.default().audio)] for folder in audio_folders(path)]
    named = [path for path in stores or [] if not audio_folders(path) or store_paths(path)]
    chosen = chosen_stores(named) if named or not stores else []
    if not shared:
        refuse_shared([*chosen, *map(str, folders)])
    wanted = wanted_keys(keep or [])
    if not wanted:
        raise UserError(
            "data/ has no tables and no embedding caches, so every row would go: run `dvc repro` or `dvc pull` first, "
            "or name what to keep with --keep."
        )
    opened = {path: RowStore.open(path) for path in chosen}
    for path, store in opened.items():
        if store.description.modality not in wanted:
            raise UserError(
                f"Nothing in data/ names any {store.description.modality}, so all rows of {path} would go: see --keep."
            )
    changes = [
        (path, compaction.gc(store, wanted[store.description.modality], dry_run=dry_run))
        for path, store in opened.items()
    ]
    wanted_media = wanted_audio()
    removed: list[Removed] = []
    for folder in folders if wanted_media else ():
        if flacs := unwanted(folder, wanted_media):
            removed.append((str(folder), len(flacs), drop(flacs, dry_run=dry_run)))
    if not stores and (forgotten := forget_absent(Store.default().digests, dry_run=dry_run)):
        removed.append((str(Store.default().digests), forgotten, 0))
    _print(changes, dry_run, as_json, removed)


def compact(stores: Stores = None, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Merge small segments into big ones and drop second copies of rows."""
    paths = chosen_stores(stores or [])
    _print([(path, compaction.compact(RowStore.open(path), dry_run=dry_run)) for path in paths], dry_run, as_json)


def forget(
    media: Annotated[list[str], typer.Argument(help="Media, as `data/tables/CORPUS/media.parquet` names them.")],
    shared: Shared = False,
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
    lines: list[dict[str, Any]] = [
        {"store": path, "rows dropped": rows, "files dropped": 0} for path, rows in drop_rows(stores, keys, dry_run)
    ]
    for folder in folders:
        flacs = [flac for digest in sorted(digests) if (flac := folder / digest[:2] / f"{digest}.flac").is_file()]
        drop(flacs, dry_run=dry_run)
        lines.append({"store": str(folder), "rows dropped": 0, "files dropped": len(flacs)})
    print_records("would be done" if dry_run else "done", lines, as_json)
    if not as_json:
        print("Now delete dvc.lock (its artifacts would bring the rows back) and run `dvc repro`.")


def drop_rows(stores: Iterable[str], keys: np.ndarray, dry_run: bool) -> Iterator[tuple[str, int]]:
    """Drops the rows of clips by their keys: path of each store of clips, and how many."""
    for path in stores:
        store = RowStore.open(path)
        if store.description.modality == "clips":
            yield path, compaction.drop(store, keys, dry_run=dry_run).rows_removed


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
        table = read_table(path.with_name("media.parquet"), MEDIA).filter(named)
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
    spans = read_table(path, SPANS)
    clips = spans.filter(pl.col("media_digest").is_in(digests.implode()))["clip_id"].unique()
    spans = spans.filter(pl.col("clip_id").is_in(clips.implode()))
    if spans.is_empty():
        return
    yield from keys_of_spans(spans, known_renditions(path.parent.name))
    for artifact_path in artifact_paths(layout.DATA / "embeddings" / path.parent.name):
        artifact = open_artifact(artifact_path)
        if artifact.description.get("modality") != "captions":
            yield artifact.keys[pl.Series(artifact.ids, dtype=pl.String).is_in(clips.implode()).to_numpy()]


def refuse_shared(stores: Sequence[str]) -> None:
    """Refuses to drop what others may want.

    Raises:
        UserError: one of the stores lies where `$HEARONCE_STORE` says.
    """
    if any(map(_may_be_shared, stores)):
        raise UserError(
            f"${STORE_VARIABLE} is set, so others may want rows that this project does not: name their embedding "
            "caches with --keep and say --shared."
        )


def _may_be_shared(store: str) -> bool:
    """Whether a store lies where `$HEARONCE_STORE` says."""
    root, location = os.environ.get(STORE_VARIABLE), location_of(store)
    if not root or not isinstance(location, LocalLocation):
        return False
    return location.path.resolve().is_relative_to(Path(root).resolve())


def _print(
    changes: list[tuple[str, compaction.Change]], dry_run: bool, as_json: bool, removed: Sequence[Removed] = ()
) -> None:
    rows = [
        {
            "store": path,
            "rows dropped": change.rows_removed,
            "segments removed": change.segments_before,
            "segments written": change.segments_after,
            "bytes": change.bytes_before,
        }
        for path, change in changes
    ]
    files = [{"store": path, "rows dropped": 0, "files dropped": n, "bytes": nbytes} for path, n, nbytes in removed]
    if as_json:
        return print_records("", [*rows, *files], as_json)
    if rows or not files:
        print_records("would be done (bytes: of the segments removed)" if dry_run else "done (bytes: removed)", rows)
    if files:
        title = "audio and remembered digests"
        print_records(f"{title} that would go" if dry_run else title, files)
