"""Extracted audio of a store: which folders there are, damaged files, and files that no table asks for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl

from cache.errors import Damage, UserError
from cache.location import LocalLocation, location_of
from cache.tables import AUDIO, MEDIA, read_table
from pipeline.config import layout
from pipeline.media.audio_store import NoRecord, read_record
from pipeline.media.flac import CheckedFile

_RECIPE = re.compile(r"flac\d+-.+")


def audio_folders(root: Path | str) -> list[Path]:
    """Folders of audio extracted in one way, at or below a folder, sorted: one itself, or those that a store keeps."""
    location = location_of(root)
    if not isinstance(location, LocalLocation):
        return []
    for paths in ([location.path], location.path.glob("*"), location.path.glob("audio/*")):
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
    for damage in found if not dry_run else ():
        flac = (folder / damage.file).with_suffix(".flac")
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
        for digest, recipe in read_table(path, AUDIO).select("digest", "recipe").iter_rows():
            wanted.setdefault(digest, set()).add(recipe)
    for path in sorted((layout.DATA / "tables").glob("*/media.parquet")):
        for digest in read_table(path, MEDIA)["digest"]:
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
            media = read_table(path, MEDIA)
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
