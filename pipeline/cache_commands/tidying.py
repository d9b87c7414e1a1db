"""`hearonce cache gc` and `compact`: drop rows nobody wants, merge small segments."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from cache import maintenance
from cache.errors import UserError
from cache.location import STORE_VARIABLE
from cache.places import LocalPlace, place_of
from cache.row_store import RowStore
from pipeline.cache_commands.found import chosen_stores, wanted_keys
from pipeline.cache_commands.showing import AsJson, DryRun, show_json, show_table

Stores = Annotated[list[str] | None, typer.Argument(help="Row stores; all of the project by default.")]


def gc(
    stores: Stores = None,
    keep: Annotated[
        list[str] | None, typer.Option(help="An embedding cache whose rows stay, too; may be given again.")
    ] = None,
    shared: Annotated[
        bool, typer.Option("--shared", help="Also where $HEARONCE_STORE is set, which others may use.")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Drop the rows that no table and no embedding cache of the project asks for.

    Rows of every encoder stay for all clips and captions of the tables and embedding caches in data/.
    """
    chosen = chosen_stores(stores or [])
    if not shared and any(map(_may_be_shared, chosen)):
        raise UserError(
            f"${STORE_VARIABLE} is set, so others may want rows that this project does not: name their embedding "
            "caches with --keep and say --shared."
        )
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
    _show(changes, dry_run, as_json)


def compact(stores: Stores = None, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Merge small segments into big ones and drop second copies of rows."""
    paths = chosen_stores(stores or [])
    _show([(path, maintenance.compact(RowStore.open(path), dry_run=dry_run)) for path in paths], dry_run, as_json)


def _may_be_shared(store: str) -> bool:
    """Whether a store lies where `$HEARONCE_STORE` says."""
    root, place = os.environ.get(STORE_VARIABLE), place_of(store)
    if not root or not isinstance(place, LocalPlace):
        return False
    return place.path.resolve().is_relative_to(Path(root).resolve())


def _show(changes: list[tuple[str, maintenance.Change]], dry_run: bool, as_json: bool) -> None:
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
    if as_json:
        show_json([{name.replace(" ", "_"): value for name, value in line.items()} for line in lines])
        return
    show_table("would be done (bytes: of the segments removed)" if dry_run else "done (bytes: removed)", lines)
