"""`hearonce cache gc` and `compact`: drop rows nobody wants, merge small segments."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from cache import maintenance
from cache.digests import forget_absent
from cache.errors import UserError
from cache.location import STORE_VARIABLE, Store
from cache.places import LocalPlace, place_of
from cache.row_store import RowStore
from pipeline.cache_commands.audio import audio_folders, drop, unwanted, wanted_audio
from pipeline.cache_commands.found import chosen_stores, store_paths, wanted_keys
from pipeline.cache_commands.showing import AsJson, DryRun, Shared, show_json, show_table

Change = tuple[str, int, int]
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
        (path, maintenance.gc(store, wanted[store.description.modality], dry_run=dry_run))
        for path, store in opened.items()
    ]
    wanted_media = wanted_audio()
    removed: list[Change] = []
    for folder in folders if wanted_media else ():
        if flacs := unwanted(folder, wanted_media):
            removed.append((str(folder), len(flacs), drop(flacs, dry_run=dry_run)))
    if not stores and (forgotten := forget_absent(Store.default().digests, dry_run=dry_run)):
        removed.append((str(Store.default().digests), forgotten, 0))
    _show(changes, dry_run, as_json, removed)


def compact(stores: Stores = None, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Merge small segments into big ones and drop second copies of rows."""
    paths = chosen_stores(stores or [])
    _show([(path, maintenance.compact(RowStore.open(path), dry_run=dry_run)) for path in paths], dry_run, as_json)


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
    root, place = os.environ.get(STORE_VARIABLE), place_of(store)
    if not root or not isinstance(place, LocalPlace):
        return False
    return place.path.resolve().is_relative_to(Path(root).resolve())


def _show(
    changes: list[tuple[str, maintenance.Change]], dry_run: bool, as_json: bool, removed: Sequence[Change] = ()
) -> None:
    lines = [
        {
            "store": path,
            "rows dropped": change.rows_removed,
            "segments removed": change.segments_before,
            "segments written": change.segments_after,
            "bytes": change.bytes_before,
        }
        for path, change in changes
    ]
    others = [
        {"store": path, "rows dropped": 0, "files dropped": files, "bytes": nbytes} for path, files, nbytes in removed
    ]
    if as_json:
        show_json([{name.replace(" ", "_"): value for name, value in line.items()} for line in [*lines, *others]])
        return
    if lines or not others:
        show_table("would be done (bytes: of the segments removed)" if dry_run else "done (bytes: removed)", lines)
    if others:
        show_table("audio and remembered digests that would go" if dry_run else "audio and remembered digests", others)
