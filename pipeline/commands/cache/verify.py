"""`hearonce cache verify` and `repair`: find damage, and drop exactly the rows it touched."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from cache import answers, digests
from cache.artifact import looks_like_artifact, open_artifact
from cache.errors import Damage, DamageError, UserError
from cache.location import DIGESTS, LocalLocation, Store, location_of
from cache.upkeep import repair as row_repair
from pipeline.commands.cache import app, audio
from pipeline.commands.cache.inventory import answer_paths, artifact_paths, chosen_stores, is_store, store_paths
from pipeline.commands.cache.outdated import drop_outdated, verify_outdated
from pipeline.console.app import AsJson, DryRun
from pipeline.console.tables import print_json, print_records
from pipeline.console.text import counted
from pipeline.monitor.problems import EXIT_PROBLEMS

Found = list[tuple[str, Damage]]
Outdated = Annotated[
    bool, typer.Option("--outdated", help="Media that an older version read wrongly, by their packets, instead.")
]


def verify(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            help="Row stores, embedding caches, extracted audio, answers, remembered digests; all of the project by "
            "default."
        ),
    ] = None,
    outdated: Outdated = False,
    recompute: Annotated[
        int, typer.Option(min=0, help="Also compute so many random rows anew, by their encoders, and compare them.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of --recompute: which rows.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Read every byte and list what is damaged, with file and rows; exit code 3 if anything is."""
    if outdated:
        return verify_outdated(as_json)
    chosen = _chosen(paths or [])
    found: Found = []
    unread: list[str] = []
    for path in chosen:
        try:
            found += [(path, damage) for damage in _damages(path, unread)]
        except DamageError as error:
            found += [(path, damage) for damage in error.damages]
        except UserError as error:  # the others are read all the same
            unread.append(str(error))
    if unread and not found:
        raise _unread(unread)
    if recompute and not found:
        if not as_json:
            print(f"{len(chosen)} checked, nothing damaged.")
        if not recompute_rows(recompute, seed, [path for path in chosen if is_store(path)], as_json):
            raise SystemExit(EXIT_PROBLEMS)
        return
    _print(found, as_json, f"{len(chosen)} checked, nothing damaged.")
    if found:
        if not as_json:
            print(
                "Embedding caches: delete them and run `dvc repro`. All else: `hearonce cache repair`; the next run "
                "computes, extracts or asks for what was lost."
            )
            for sentence in unread:
                print(sentence)
        raise SystemExit(EXIT_PROBLEMS)


def repair(
    paths: Annotated[
        list[str] | None,
        typer.Argument(help="Row stores, extracted audio, answers, remembered digests; all of the project by default."),
    ] = None,
    outdated: Outdated = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Drop what is damaged of rows, extracted audio, answers and digests, and nothing else; the next run makes it."""
    if outdated:
        if drop_outdated(dry_run, as_json) and dry_run:
            raise SystemExit(EXIT_PROBLEMS)
        return
    known_outdated = not paths and not as_json and drop_outdated(dry_run, as_json, read=False)
    found: Found = []
    dropped: Found = []
    unread: list[str] = []
    for path in paths or []:
        if not (store_paths(path) or _other_parts(path)) and (
            Path(path).is_file() or looks_like_artifact(location_of(path))
        ):
            open_artifact(path)  # says what hinders, if anything does
            raise UserError(
                f"{path} is an embedding cache, of which no part is repaired: where `hearonce cache verify` finds "
                "damage, delete it and run `dvc repro`."
            )
    for stores, parts in [_parts(path) for path in paths] if paths else [_parts(None)]:
        found += [
            (path, damage) for path in stores for damage in row_repair.repair(path, dry_run=dry_run, skipped=unread)
        ]
        dropped += [(path, damage) for path in parts for damage in _repaired(path, dry_run)]
    _print(found + dropped, as_json, "Nothing is damaged.")
    if found and not as_json:
        keys = {key for _, damage in found for key in damage.keys}
        verb = "would be" if dry_run else "was" if len(keys) == 1 else "were"
        print(f"{counted(len(keys), 'row')} with a known key {verb} dropped; `dvc repro` computes what is missing.")
    if dropped and not as_json:
        verb = "would be" if dry_run else "was" if len(dropped) == 1 else "were"
        print(f"{counted(len(dropped), 'part')} of audio, answers and digests {verb} dropped; see the reasons.")
    if unread:
        raise _unread(unread)
    if (found or dropped or known_outdated) and dry_run:
        raise SystemExit(EXIT_PROBLEMS)


def _unread(sentences: list[str]) -> UserError:
    """What could not be read, and may or may not be damaged."""
    more = f" ({counted(len(sentences) - 1, 'more such part')})" if len(sentences) > 1 else ""
    return UserError(f"{sentences[0].rstrip('.')}{more}.")


def _chosen(paths: Sequence[str]) -> list[str]:
    if not paths:
        return [*store_paths(Store.default().rows), *map(str, artifact_paths()), *_other_parts(None)]
    return [inner for path in paths for inner in (*store_paths(path), *_other_parts(path)) or (path,)]


def _parts(path: str | None) -> tuple[list[str], list[str]]:
    """Row stores at or below a path, or of the project, and what else can be repaired there.

    Raises:
        UserError: there is neither.
    """
    stores, parts = store_paths(Store.default().rows if path is None else path), _other_parts(path)
    if not stores and not parts:
        chosen_stores([] if path is None else [path])
    return stores, parts


def _other_parts(path: str | None) -> list[str]:
    """Extracted audio, answers and remembered digests at or below a path, or of the project."""
    if path is None:
        store = Store.default()
        digests = [str(store.digests)] if store.digests.is_file() else []
        return [*map(str, audio.audio_folders(store.audio)), *map(str, answer_paths(store.answers)), *digests]
    location = location_of(path)
    if not isinstance(location, LocalLocation):
        return []
    files = [file for file in (location.path, location.path / DIGESTS) if file.name == DIGESTS and file.is_file()]
    return [*map(str, audio.audio_folders(path)), *map(str, answer_paths(path)), *map(str, files)]


def _damages(path: str, unread: list[str]) -> list[Damage]:
    if is_store(path):
        return row_repair.verify(path, skipped=unread)
    if path.endswith(DIGESTS):
        return digests.verify(Path(path))
    if audio.audio_folders(path):
        return audio.verify(Path(path))
    if answer_paths(path):
        return answers.verify(Path(path))
    return open_artifact(path).verify()


def _repaired(path: str, dry_run: bool) -> list[Damage]:
    if path.endswith(DIGESTS):
        found = digests.verify(Path(path))
        if found and not dry_run:
            digests.repair(Path(path))
        return found
    part: Any = audio if audio.audio_folders(path) else answers
    return part.repair(Path(path), dry_run=dry_run)


def _print(found: Found, as_json: bool, nothing: str) -> None:
    if as_json:
        print_json([_line(path, damage) | {"keys": [key.hex() for key in damage.keys]} for path, damage in found])
    elif found:
        rows = [_line(path, damage) for path, damage in found]
        for row in rows:
            row["rows"] = "none" if row["rows"] is None else f"{row['rows'][0]} to {row['rows'][1] - 1}"
        print_records(counted(len(found), "damaged part"), rows)
    else:
        print(nothing)


def _line(path: str, damage: Damage) -> dict[str, Any]:
    return {"path": path, "file": damage.file, "rows": damage.rows, "reason": damage.reason}


@dataclass(frozen=True)
class Compared:
    """A cached row that has been computed anew, or was to be.

    Attributes:
        encoder: name of the encoder.
        corpus: whose clip or caption it is.
        id: of the clip or caption.
        key: of the row, in hex.
        path: the medium; empty for a caption.
        where: the segment or embedding cache that holds the row.
        difference: L2 norm of the difference, divided by the longer of the two; None where it was not computed.
        agrees: whether the two are the same up to rounding.
        reason: why it was not computed.
    """

    encoder: str
    corpus: str
    id: str
    key: str
    path: str
    where: str
    difference: float | None
    agrees: bool
    reason: str = ""


Recompute = Callable[[int, int, Sequence[str]], list[Compared]]
"""Given how many rows, a seed, and the paths of stores (all of the project if empty)."""


def recompute_rows(n: int, seed: int, stores: Sequence[str], as_json: bool) -> bool:
    """Computes n random rows anew, reports them, and says whether all agree.

    Raises:
        UserError: no cached row of the project can be computed.
    """
    module, name = app.RECOMPUTE.split(":")
    run: Recompute = getattr(importlib.import_module(module), name)
    compared = run(n, seed, stores)
    agreeing = [row for row in compared if row.agrees]
    failed = [row for row in compared if row.reason]
    differing = [row for row in compared if not row.agrees and not row.reason]
    if as_json:
        print_json({"seed": seed, "agree": len(agreeing), "rows": [vars(row) for row in compared]})
        return not differing
    print(
        f"{counted(len(compared) - len(failed), 'row')} computed anew (seed {seed}): {len(agreeing)} agree, "
        f"{len(differing)} differ."
    )
    if differing:
        print_records("rows that differ from what their encoder gives", [_recomputed_line(row) for row in differing])
        print("Delete the segments that hold them, or the store; `dvc repro` computes what is missing.")
    if failed:
        lines = [{"id": row.id, "encoder": row.encoder, "path": row.path, "reason": row.reason} for row in failed]
        print_records(f"{counted(len(failed), 'row')} could not be computed", lines)
    return not differing


def _recomputed_line(row: Compared) -> dict[str, object]:
    difference = "other shape" if row.difference is None else f"{row.difference:.2g}"
    return {
        "encoder": row.encoder,
        "corpus": row.corpus,
        "id": row.id,
        "path": row.path,
        "key": row.key,
        "difference": difference,
        "where": row.where,
    }
