"""Official files as encoders see them: where `hearonce checkpoints fetch` puts them, and what to say when they lack."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from cache.errors import UserError
from pipeline import layout
from pipeline.checkpoints.catalogue import CATALOGUE, Entry, load_catalogue
from pipeline.checkpoints.unpacking import is_archive, unpacked


def existing(path: Path) -> Path:
    """The path of a checkpoint, if something is there.

    Raises:
        UserError: nothing is; says how to get it.
    """
    if not path.exists():
        raise UserError(f"{not_found(path)}.")
    return path


def not_found(path: Path) -> str:
    """`checkpoint not found: PATH`, with the command that fetches it if it is an official file or folder."""
    if training := layout.training_of(path):
        return f"checkpoint not found: {path}: run `dvc repro`, or `hearonce train {training}`, which makes it"
    name = catalogued(path)
    unpacked = " --unpack" if name and _made_by_unpacking(path.absolute(), _entries()[name]) else ""
    if unpacked and path.parent.is_dir() and not any(path.parent.glob(f"*/{path.name}")):
        there = ", ".join(sorted(one.name for one in path.parent.iterdir()))
        return f"checkpoint not found: {path}: name the right file in the encoder's YAML, the archive had {there}"
    remedy = (
        f"run `hearonce checkpoints fetch {name}{unpacked}`"
        if name
        else "correct the path in the encoder's YAML (`hearonce checkpoints list` has the official files)"
    )
    return f"checkpoint not found: {path}: {remedy}"


def catalogued(path: Path) -> str | None:
    """The catalogue's name of the file or folder that belongs at a path, None if it has none."""
    wanted = path.absolute()
    for name, entry in _entries().items():
        place = entry.path.absolute()
        inside = entry.folder is not None and place in wanted.parents
        if wanted == place or inside or _made_by_unpacking(wanted, entry):
            return name
    return None


def fetch_command(names: Iterable[str]) -> str:
    """The command that fetches catalogue entries, and unpacks those that are archives."""
    entries = _entries()
    wanted = list(dict.fromkeys(names))
    archives = any(is_archive(entries[name].path) for name in wanted)
    return f"hearonce checkpoints fetch {' '.join(wanted)}{' --unpack' if archives else ''}"


def official_annotations(corpus: str) -> dict[str, tuple[Path, list[str]]]:
    """The catalogue's entries of a corpus's annotations: name -> folder they end in, and files that belong there."""
    found = {}
    for name, entry in _entries().items():
        if corpus not in entry.used_by or not entry.into.startswith("annotations"):
            continue
        if entry.folder is not None:
            files = [names.split("|")[0] for names in (entry.files or entry.holds)]
            found[name] = entry.path, files
        elif is_archive(entry.path):
            found[name] = unpacked(entry.path), list(entry.holds)
        else:
            found[name] = entry.path.parent, [str(entry.file)]
    return found


def _made_by_unpacking(path: Path, entry: Entry) -> bool:
    """Whether a path is, or lies in, what `--unpack` makes of an archive."""
    place = entry.path.absolute()
    return is_archive(place) and unpacked(place) in (path, *path.parents)


def fetched_folder(hub_id: str) -> Path | None:
    """The folder into which `hearonce checkpoints fetch` has put a model of the hub, None if it has not."""
    name = _of_hub(hub_id)
    folder = _entries()[name].path if name else None
    return folder if folder is not None and folder.is_dir() else None


def fetch_or(model: str, otherwise: str) -> str:
    """A remedy for a model that lacks, with the command that fetches it if it is official.

    Args:
        model: path of a folder, or a hub id.
        otherwise: what else can be done.
    """
    name = catalogued(Path(model)) or _of_hub(model)
    return f"run `hearonce checkpoints fetch {name}`, or {otherwise}" if name else otherwise


def _of_hub(hub_id: str) -> str | None:
    """The catalogue's name of a folder that comes from the hub, by its id there or by the short one of old."""
    for name, entry in _entries().items():
        if entry.folder is not None and (hub_id == name or any(place.hub == hub_id for place in entry.places)):
            return name if any(place.hub for place in entry.places) else None
    return None


def _entries() -> dict[str, Entry]:
    """The catalogue, empty where there is none that can be read."""
    if not CATALOGUE.is_file():
        return {}
    return _read(CATALOGUE.absolute(), CATALOGUE.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _read(place: Path, changed_ns: int) -> dict[str, Entry]:
    try:
        return load_catalogue()
    except UserError:
        return {}
