"""`hearonce cache verify` and `repair`: find damage, and drop exactly the rows it touched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from cache import answers
from cache import repair as repairs
from cache.artifact import looks_like_artifact, open_artifact
from cache.errors import Damage, DamageError, UserError
from cache.location import Store
from cache.places import place_of
from pipeline.cache_commands import recomputing
from pipeline.cache_commands.found import answer_paths, artifact_paths, chosen_stores, is_store, store_paths
from pipeline.cache_commands.showing import AsJson, DryRun, show_json, show_table
from pipeline.counted import counted
from pipeline.exit_codes import EXIT_PROBLEMS

Found = list[tuple[str, Damage]]


def verify(
    paths: Annotated[
        list[str] | None,
        typer.Argument(help="Row stores, embedding caches, folders of answers; all of the project by default."),
    ] = None,
    recompute: Annotated[
        int, typer.Option(min=0, help="Also compute so many random rows anew, by their encoders, and compare them.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of --recompute: which rows.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Read every byte and list what is damaged, with file and rows; exit code 3 if anything is."""
    chosen = _chosen(paths or [])
    found: Found = []
    unread: list[str] = []
    for path in chosen:
        try:
            found += [(path, one) for one in _damages(path, unread)]
        except DamageError as error:
            found += [(path, one) for one in error.damages]
        except UserError as error:  # the others are read all the same
            unread.append(str(error))
    if unread and not found:
        raise _unread(unread)
    if recompute and not found:
        if not as_json:
            print(f"{len(chosen)} checked, nothing damaged.")
        if not recomputing.recompute(recompute, seed, [path for path in chosen if is_store(path)], as_json):
            raise SystemExit(EXIT_PROBLEMS)
        return
    _show(found, as_json, f"{len(chosen)} checked, nothing damaged.")
    if found:
        if not as_json:
            print(
                "Row stores: `hearonce cache repair`. Embedding caches: delete them and run `dvc repro`. "
                "Answers: delete those lines; the next `hearonce describe` asks again."
            )
            for sentence in unread:
                print(sentence)
        raise SystemExit(EXIT_PROBLEMS)


def repair(
    paths: Annotated[list[str] | None, typer.Argument(help="Row stores; all of the project by default.")] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Drop the damaged rows of row stores and keep all others; the next run computes what was dropped."""
    found: Found = []
    unread: list[str] = []
    for path in paths or []:
        if not store_paths(path) and (Path(path).is_file() or looks_like_artifact(place_of(path))):
            open_artifact(path)  # says what hinders, if anything does
            raise UserError(
                f"{path} is an embedding cache, of which no part is repaired: where `hearonce cache verify` finds "
                "damage, delete it and run `dvc repro`."
            )
    for path in chosen_stores(paths or []):
        found += [(path, one) for one in repairs.repair(path, dry_run=dry_run, skipped=unread)]
    _show(found, as_json, "Nothing is damaged.")
    if found and not as_json:
        keys = {key for _, one in found for key in one.keys}
        verb = "would be" if dry_run else "was" if len(keys) == 1 else "were"
        print(f"{counted(len(keys), 'row')} with a known key {verb} dropped; `dvc repro` computes what is missing.")
    if unread:
        raise _unread(unread)
    if found and dry_run:
        raise SystemExit(EXIT_PROBLEMS)


def _unread(sentences: list[str]) -> UserError:
    """What could not be read, and may or may not be damaged."""
    more = f" ({counted(len(sentences) - 1, 'more such place')})" if len(sentences) > 1 else ""
    return UserError(f"{sentences[0].rstrip('.')}{more}.")


def _chosen(paths: Sequence[str]) -> list[str]:
    if not paths:
        store = Store.default()
        return [*store_paths(store.rows), *map(str, artifact_paths()), *map(str, answer_paths(store.answers))]
    return [inner for path in paths for inner in (*store_paths(path), *map(str, answer_paths(path))) or (path,)]


def _damages(path: str, unread: list[str]) -> list[Damage]:
    if is_store(path):
        return repairs.verify(path, skipped=unread)
    if answer_paths(path):
        return answers.verify(Path(path))
    return open_artifact(path).verify()


def _show(found: Found, as_json: bool, nothing: str) -> None:
    if as_json:
        show_json([_line(path, one) | {"keys": [key.hex() for key in one.keys]} for path, one in found])
    elif found:
        rows = [_line(path, one) for path, one in found]
        for row in rows:
            row["rows"] = "none" if row["rows"] is None else f"{row['rows'][0]} to {row['rows'][1] - 1}"
        show_table(counted(len(found), "damaged place"), rows)
    else:
        print(nothing)


def _line(path: str, damage: Damage) -> dict[str, Any]:
    return {"path": path, "file": damage.file, "rows": damage.rows, "reason": damage.reason}
