"""`hearonce cache verify` and `repair`: find damage, and drop exactly the rows it touched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from cache import answers, digests
from cache import repair as repairs
from cache.artifact import open_artifact
from cache.errors import Damage, DamageError
from cache.location import DIGESTS, Store
from cache.places import LocalPlace, place_of
from pipeline.cache_commands import audio
from pipeline.cache_commands.found import answer_paths, artifact_paths, chosen_stores, is_store, store_paths
from pipeline.cache_commands.showing import AsJson, DryRun, show_json, show_table
from pipeline.counted import counted
from pipeline.exit_codes import EXIT_PROBLEMS

Found = list[tuple[str, Damage]]


def verify(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            help="Row stores, embedding caches, extracted audio, answers, remembered digests; all of the project by "
            "default."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read every byte and list what is damaged, with file and rows; exit code 3 if anything is."""
    chosen = _chosen(paths or [])
    found: Found = []
    for path in chosen:
        found += [(path, one) for one in _damages(path)]
    _show(found, as_json, f"{len(chosen)} checked, nothing damaged.")
    if found:
        if not as_json:
            print(
                "Embedding caches: delete them and run `dvc repro`. All else: `hearonce cache repair`; the next run "
                "computes, extracts or asks for what was lost."
            )
        raise SystemExit(EXIT_PROBLEMS)


def repair(
    paths: Annotated[
        list[str] | None,
        typer.Argument(help="Row stores, extracted audio, answers, remembered digests; all of the project by default."),
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Drop what is damaged of rows, extracted audio, answers and digests, and nothing else; the next run makes it."""
    found: Found = []
    dropped: Found = []
    for stores, others in [_parts(path) for path in paths] if paths else [_parts(None)]:
        found += [(path, one) for path in stores for one in repairs.repair(path, dry_run=dry_run)]
        dropped += [(path, one) for path in others for one in _repaired(path, dry_run)]
    _show(found + dropped, as_json, "Nothing is damaged.")
    if found and not as_json:
        keys = {key for _, one in found for key in one.keys}
        verb = "would be" if dry_run else "was" if len(keys) == 1 else "were"
        print(f"{counted(len(keys), 'row')} with a known key {verb} dropped; `dvc repro` computes what is missing.")
    if dropped and not as_json:
        verb = "would be" if dry_run else "was" if len(dropped) == 1 else "were"
        print(f"{counted(len(dropped), 'place')} of audio, answers and digests {verb} dropped; see the reasons.")
    if (found or dropped) and dry_run:
        raise SystemExit(EXIT_PROBLEMS)


def _chosen(paths: Sequence[str]) -> list[str]:
    if not paths:
        return [*store_paths(Store.default().rows), *map(str, artifact_paths()), *_others(None)]
    return [inner for path in paths for inner in (*store_paths(path), *_others(path)) or (path,)]


def _parts(path: str | None) -> tuple[list[str], list[str]]:
    """Row stores at or below a path, or of the project, and what else can be repaired there.

    Raises:
        UserError: there is neither.
    """
    stores, others = store_paths(Store.default().rows if path is None else path), _others(path)
    if not stores and not others:
        chosen_stores([] if path is None else [path])
    return stores, others


def _others(path: str | None) -> list[str]:
    """Extracted audio, answers and remembered digests at or below a path, or of the project."""
    if path is None:
        store = Store.default()
        digests = [str(store.digests)] if store.digests.is_file() else []
        return [*map(str, audio.audio_folders(store.audio)), *map(str, answer_paths(store.answers)), *digests]
    place = place_of(path)
    if not isinstance(place, LocalPlace):
        return []
    files = [one for one in (place.path, place.path / DIGESTS) if one.name == DIGESTS and one.is_file()]
    return [*map(str, audio.audio_folders(path)), *map(str, answer_paths(path)), *map(str, files)]


def _damages(path: str) -> list[Damage]:
    if is_store(path):
        return repairs.verify(path)
    if path.endswith(DIGESTS):
        return digests.verify(Path(path))
    if audio.audio_folders(path):
        return audio.verify(Path(path))
    if answer_paths(path):
        return answers.verify(Path(path))
    try:
        return open_artifact(path).verify()
    except DamageError as error:
        return list(error.damages)


def _repaired(path: str, dry_run: bool) -> list[Damage]:
    if path.endswith(DIGESTS):
        found = digests.verify(Path(path))
        if found and not dry_run:
            digests.repair(Path(path))
        return found
    part: Any = audio if audio.audio_folders(path) else answers
    return part.repair(Path(path), dry_run=dry_run)


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
