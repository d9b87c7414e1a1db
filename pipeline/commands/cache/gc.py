"""`hearonce cache gc` and `compact`: drop rows nobody wants, merge small segments."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from cache import tables as schemas
from cache.digests import forget_absent
from cache.errors import Damage, UserError
from cache.location import STORE_VARIABLE, LocalPlace, Store, place_of
from cache.row_store import RowStore
from cache.upkeep import compaction as maintenance
from pipeline.commands.cache.inventory import chosen_stores, store_paths, wanted_keys
from pipeline.config import layout
from pipeline.console.tables import AsJson, DryRun, Shared, show_json, show_table
from pipeline.media.audio_store import NoRecord, read_record
from pipeline.media.flac import CheckedFile

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


_RECIPE = re.compile(r"flac\d+-.+")


def audio_folders(root: Path | str) -> list[Path]:
    """Folders of audio extracted in one way, at or below a folder, sorted: one itself, or those that a store keeps."""
    place = place_of(root)
    if not isinstance(place, LocalPlace):
        return []
    for paths in ([place.path], place.path.glob("*"), place.path.glob("audio/*")):
        found = sorted(path for path in paths if _RECIPE.fullmatch(path.resolve().name) and path.is_dir())
        if found:
            return found
    return []


def verify(folder: Path) -> list[Damage]:
    """Reads all extracted audio of a folder and lists what is not as it was written, with what it costs."""
    names = _media_names()
    return [
        Damage(f"{flac.parent.name}/{name}", None, f"{reason}: {_cost(flac, names)}")
        for flac in _flacs(folder)
        for name, reason in [_fault(flac, folder.resolve().name)]
        if reason
    ]


def repair(folder: Path, *, dry_run: bool = False) -> list[Damage]:
    """Removes damaged audio with its record; whatever needs it next extracts it again.

    Returns:
        What was found, as `verify` has it.

    Raises:
        UserError: a file cannot be removed.
    """
    found = verify(folder)
    for one in found if not dry_run else ():
        flac = (folder / one.file).with_suffix(".flac")
        if _fault(flac, folder.resolve().name)[1]:  # else another process has just extracted it again
            _remove(flac)
    return found


def unwanted(folder: Path, wanted: Mapping[str, set[str]]) -> list[Path]:
    """Extracted audio that no table of the project names.

    Args:
        folder: of audio extracted in one way.
        wanted: see `wanted_audio`.
    """
    here = folder.resolve().name
    return [flac for flac in _flacs(folder) if not {here, ""} & wanted.get(flac.stem, set())]


def drop(flacs: list[Path], *, dry_run: bool = False) -> int:
    """Removes extracted audio with its records: how many bytes.

    Raises:
        UserError: a file cannot be removed.
    """
    nbytes = sum(path.stat().st_size for flac in flacs for path in (flac, flac.with_suffix(".json")) if path.is_file())
    for flac in flacs if not dry_run else ():
        _remove(flac)
    return nbytes


def wanted_audio() -> dict[str, set[str]]:
    """The digests of all media in the project's tables, with the recipes by which their audio was extracted.

    An empty recipe stands for all of them: of a medium that no manifest names (yet).

    Raises:
        UserError: a table cannot be read.
    """
    wanted: dict[str, set[str]] = {}
    for path in sorted((layout.DATA / "audio").glob("*.parquet")):
        for digest, recipe in schemas.read_table(path, schemas.AUDIO).select("digest", "recipe").iter_rows():
            wanted.setdefault(digest, set()).add(recipe)
    for path in sorted((layout.DATA / "tables").glob("*/media.parquet")):
        for digest in schemas.read_table(path, schemas.MEDIA)["digest"]:
            wanted.setdefault(digest, {""})
    return wanted


def _flacs(folder: Path) -> Iterator[Path]:
    """The FLAC file of each record and each FLAC file, sorted; one of the two may be missing."""
    found = {path.with_suffix(".flac") for ending in ("flac", "json") for path in folder.glob(f"??/[!.]*.{ending}")}
    yield from sorted(found)


def _fault(flac: Path, recipe: str) -> tuple[str, str]:
    """The file that is at fault, and what is wrong with it, or nothing."""
    record = flac.with_suffix(".json")
    try:
        known = read_record(record, flac.stem, recipe)
        with CheckedFile(flac, known.nbytes, known.crc32c) as file:
            return flac.name, file.check()
    except NoRecord as error:
        return record.name, str(error)
    except FileNotFoundError:
        return flac.name, "is missing"
    except OSError as error:
        return flac.name, f"cannot be read ({error.strerror})"


def _cost(flac: Path, names: Mapping[str, str]) -> str:
    of = names.get(flac.stem, f"the medium with the digest {flac.stem}, which no table of the project names,")
    return f"the audio of {of} is extracted again when it is needed"


def _media_names() -> dict[str, str]:
    names: dict[str, str] = {}
    for path in sorted((layout.DATA / "tables").glob("*/media.parquet")):
        try:
            media = schemas.read_table(path, schemas.MEDIA)
        except UserError:  # a table of an older version; names are a courtesy
            continue
        names |= dict(media.select("digest", pl.format(f"{path.parent.name}: {{}}", "path")).iter_rows())
    return names


def _remove(flac: Path) -> None:
    try:
        for path in (flac, flac.with_suffix(".json")):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{flac} cannot be removed ({error.strerror}): ask its owner.") from None
