"""`hearonce cache gc` and `compact`: drop rows nobody wants, merge small segments."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from cache import maintenance
from cache.errors import UserError
from cache.location import STORE_VARIABLE
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
    if not shared and not stores and os.environ.get(STORE_VARIABLE):
        raise UserError(
            f"${STORE_VARIABLE} is set, so others may want rows that this project does not: name their embedding "
            "caches with --keep and say --shared."
        )
    chosen = chosen_stores(stores or [])
    wanted = wanted_keys(keep or [])
    if not wanted:
        raise UserError(
            "data/ has no tables and no embedding caches, so every row would go: run `dvc repro` or `dvc pull` first, "
            "or name what to keep with --keep."
        )
    changes = []
    for path in chosen:
        store = RowStore.open(path)
        modality = store.description.modality
        if modality not in wanted:
            raise UserError(f"Nothing in data/ names any {modality}, so all rows of {path} would go: see --keep.")
        changes.append((path, maintenance.gc(store, wanted[modality], dry_run=dry_run)))
    _show(changes, dry_run, as_json)


def compact(stores: Stores = None, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Merge small segments into big ones and drop second copies of rows."""
    paths = chosen_stores(stores or [])
    _show([(path, maintenance.compact(RowStore.open(path), dry_run=dry_run)) for path in paths], dry_run, as_json)


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
