"""`hearonce cache verify` and `repair`: find damage, and drop exactly the rows it touched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from cache import repair as repairs
from cache.artifact import open_artifact
from cache.errors import Damage, DamageError
from cache.location import Store
from pipeline.cache_commands.found import artifact_paths, chosen_stores, is_store, store_paths
from pipeline.cache_commands.showing import AsJson, DryRun, show_json, show_table
from pipeline.exit_codes import EXIT_PROBLEMS

Found = list[tuple[str, Damage]]


def verify(
    paths: Annotated[
        list[str] | None, typer.Argument(help="Row stores and embedding caches; all of the project by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read every byte and list what is damaged, with file and rows; exit code 3 if anything is."""
    chosen = _chosen(paths or [])
    found: Found = []
    for path in chosen:
        damages = repairs.verify(path) if is_store(path) else _damages_of_artifact(path)
        found += [(path, one) for one in damages]
    _show(found, as_json, f"{len(chosen)} checked, nothing damaged.")
    if found:
        if not as_json:
            print("Row stores: `hearonce cache repair`. Embedding caches: delete them and run `dvc repro`.")
        raise SystemExit(EXIT_PROBLEMS)


def repair(
    paths: Annotated[list[str] | None, typer.Argument(help="Row stores; all of the project by default.")] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Drop the damaged rows of row stores and keep all others; the next run computes what was dropped."""
    found: Found = []
    for path in chosen_stores(paths or []):
        found += [(path, one) for one in repairs.repair(path, dry_run=dry_run)]
    _show(found, as_json, "Nothing is damaged.")
    if found and not as_json:
        keys = {key for _, one in found for key in one.keys}
        verb = "would be" if dry_run else "were"
        print(f"{len(keys)} rows whose keys are known {verb} dropped; `dvc repro` computes them again.")
    if found and dry_run:
        raise SystemExit(EXIT_PROBLEMS)


def _chosen(paths: Sequence[str]) -> list[str]:
    if not paths:
        return [*store_paths(Store.default().rows), *map(str, artifact_paths())]
    return [inner for path in paths for inner in (store_paths(path) or [path])]


def _damages_of_artifact(path: str) -> list[Damage]:
    try:
        return open_artifact(path).verify()
    except DamageError as error:
        return list(error.damages)


def _show(found: Found, as_json: bool, nothing: str) -> None:
    if as_json:
        show_json([_line(path, one) | {"keys": [key.hex() for key in one.keys]} for path, one in found])
    elif found:
        rows = [_line(path, one) for path, one in found]
        for row in rows:
            row["rows"] = "none" if row["rows"] is None else f"{row['rows'][0]} to {row['rows'][1] - 1}"
        show_table(f"{len(found)} damaged places", rows)
    else:
        print(nothing)


def _line(path: str, damage: Damage) -> dict[str, Any]:
    return {"path": path, "file": damage.file, "rows": damage.rows, "reason": damage.reason}
