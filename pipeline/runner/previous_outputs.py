"""Rows that a colleague has computed: a fresh clone takes them from the artifact that `dvc.lock` names.

DVC deletes a stage's outputs before its command runs, but still has them as `dvc.lock` names them: in its cache, where
they are read as files, or in the remote, from where DVC serves them. DVC itself parses all of dvc.yaml and dvc.lock for
that, which takes longer than a few new rows.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl

from cache import tables as schemas
from cache.artifact import open_artifact
from cache.catalog import Lookup
from cache.keys import KeyIndex, Keys, pack_keys
from cache.row_store import RowStore
from cache.upkeep.exchange import import_rows
from pipeline.config.experiments import RENAMED_ENCODERS
from pipeline.config.layout import DATA
from pipeline.config.params import FEATURES, config_of
from pipeline.config.records import load_yaml
from pipeline.console.text import counted
from pipeline.monitor.disk_space import dvc_cache_folder

FIRST = {"zarr.json", "keys"}


def may_be_had() -> bool:
    """Whether this is a DVC project with outputs of earlier runs."""
    return Path(".dvc").is_dir() and Path("dvc.lock").is_file()


def warm(store: RowStore, out: Path, wanted: Lookup, note: Callable[[str], None]) -> None:
    """Copies rows that the store lacks from the last artifact at `out`.

    Nothing is fetched when the store lacks nothing, outside a DVC project, or when `dvc.lock` has no such output; of an
    artifact that is of another encoder or damaged, nothing is taken and its rows are computed anew.

    Args:
        store: the row store to fill.
        out: the stage's output, relative to the project.
        wanted: the keys of the stage's rows, looked up in the store.
        note: called with how many rows were copied, or why none could be.
    """
    missing = wanted.missing()
    if not len(missing) or not may_be_had():
        return
    scratch = Path(".dvc/tmp")  # beside the project: an artifact may be larger than the system's folder for such
    scratch.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        try:
            copied = _copy(store, out, wanted.keys[missing], Path(folder) / out.name)
        except Exception as error:  # DVC and its remotes raise many kinds; what cannot be had can be computed
            note(f"the artifact in dvc.lock cannot be had ({' '.join(str(error).split())})")
        else:
            if copied:
                note(f"{counted(copied, 'row')} from the artifact in dvc.lock")


def _copy(store: RowStore, out: Path, missing: Keys, target: Path) -> int:
    parts = _current_parts(out) or _earlier_parts(out)
    if "zarr.json" not in parts:  # dvc.yaml names the output, but no run has made it yet
        return 0
    target.mkdir()
    for part in sorted(parts.keys() & FIRST):  # little, and says whether the rest is worth fetching
        parts[part](target / part)
    artifact = open_artifact(target)
    if artifact.description.get("fingerprint") != store.description.fingerprint:
        return 0
    if (KeyIndex([pack_keys(missing)]).find(artifact.keys) < 0).all():
        return 0
    for part in sorted(parts.keys() - FIRST):
        parts[part](target / part)
    return import_rows(artifact, store, missing, {"from": "the artifact in dvc.lock"})


Parts = dict[str, Callable[[Path], None]]
"""Name of a file or folder of an artifact -> copies it to a path."""


def _current_parts(out: Path) -> Parts:
    """The parts of an output of a stage of dvc.yaml: from DVC's cache if all are there, otherwise through DVC."""
    locked = next(((one, path) for one in _locked() if out.is_relative_to(path := Path(one["path"]))), None)
    if locked is None:  # no run has made it
        return {}
    files = _files_in_cache(locked[0], out.relative_to(locked[1]).parts)
    return _served(out) if files is None else _parts(files)


def _locked() -> Iterator[dict[str, Any]]:
    """The outputs of all stages in dvc.lock."""
    for stage in load_yaml(Path("dvc.lock")).get("stages", {}).values():
        yield from stage.get("outs", [])


def _files_in_cache(locked: dict[str, Any], inside: tuple[str, ...]) -> dict[tuple[str, ...], Path] | None:
    """Paths in DVC's cache of the files of a folder, by their names in it; None if one is not there."""
    folder = _in_cache(locked)
    if folder is None or folder.suffix != ".dir" or not folder.is_file():
        return None
    files: dict[tuple[str, ...], Path] = {}
    for entry in json.loads(folder.read_bytes()):
        key = tuple(entry["relpath"].split("/"))
        if key[: len(inside)] == inside:
            path = _in_cache({**locked, "md5": entry["md5"]})
            if path is None or not path.is_file():
                return None
            files[key[len(inside) :]] = path
    return files


def _in_cache(locked: dict[str, Any]) -> Path | None:
    """Where DVC's cache of this project keeps an object; None for one in the layout of DVC 2."""
    digest = str(locked.get("md5", ""))
    if locked.get("hash") != "md5" or len(digest) < 3:
        return None
    return dvc_cache_folder() / "files" / "md5" / digest[:2] / digest[2:]


def _parts(files: dict[tuple[str, ...], Path]) -> Parts:
    """The parts of an artifact, given the files below it."""

    def copier(part: str) -> Callable[[Path], None]:
        def copy(target: Path) -> None:
            for key, source in files.items():
                if key[0] == part:
                    path = target.joinpath(*key[1:])
                    path.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(source, path)

        return copy

    return {key[0]: copier(key[0]) for key in files}


def _served(out: Path) -> Parts:
    """The parts of an output as DVC serves them, fetching what its cache lacks."""
    from dvc.api import DVCFileSystem

    files = DVCFileSystem(".")
    if not files.exists(out.as_posix()):
        return {}

    def copier(part: str) -> Callable[[Path], None]:
        return lambda target: files.get(f"{out.as_posix()}/{part}", str(target), recursive=True)

    return {name: copier(name) for name in (Path(path).name for path in files.ls(out.as_posix(), detail=False))}


def _earlier_parts(out: Path) -> Parts:
    """The same of an output that a stage of the last version made, which dvc.lock still has but dvc.yaml has not."""
    from dvc.repo import Repo
    from dvc_data.hashfile import load
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.tree import Tree

    found = _earlier_output(out)
    if found is None:
        return {}
    digest, inside = HashInfo("md5", found[0]), found[1].parts
    with Repo(".") as repo:
        cache = repo.cache.local
        if not cache.exists(digest.value):
            repo.cloud.pull([digest])
        tree = load(cache, digest)
    if not isinstance(tree, Tree):
        return {}
    return _parts(
        {key[len(inside) :]: Path(cache.oid_to_path(oid.value)) for key, _, oid in tree if key[: len(inside)] == inside}
    )


def _earlier_output(out: Path) -> tuple[str, Path] | None:
    """(MD5 of a folder, path inside it) of an embedding as a stage of the last version wrote it."""
    folder = DATA / "embeddings"
    if not out.is_relative_to(folder):
        return None
    corpus, *encoder = out.parent.relative_to(folder).parts
    name = "/".join(encoder)
    earlier = {old for old, new in RENAMED_ENCODERS.items() if new == name}
    names = [name, name.removeprefix(FEATURES), config_of(name), *earlier]
    paths = [folder / corpus / one / out.name for one in names]
    for one in _locked():
        for path in paths:
            if str(one.get("md5", "")).endswith(".dir") and path.is_relative_to(one["path"]):
                return one["md5"], path.relative_to(one["path"])
    return None


def previous_table(out: Path, schema: schemas.Schema, note: Callable[[str], None]) -> pl.DataFrame:
    """The last version of a stage's output, from DVC's cache or its remote; empty if there is none to be had.

    Args:
        out: the output, relative to the project.
        schema: of the table.
        note: called with why it could not be had.
    """
    nothing = schemas.table([], schema)
    lock = Path("dvc.lock")
    if not Path(".dvc").is_dir() or not lock.is_file() or f"path: {out.as_posix()}\n" not in lock.read_text("utf-8"):
        return nothing
    with tempfile.TemporaryDirectory() as folder:
        try:
            locked = next((one for one in _locked() if one["path"] == out.as_posix()), {})
            cached = _in_cache(locked)
            if cached is not None and cached.is_file():
                return schemas.read_table(cached, schema)
            from dvc.api import DVCFileSystem

            DVCFileSystem(".").get(out.as_posix(), str(Path(folder) / out.name))
            return schemas.read_table(Path(folder) / out.name, schema)
        except Exception as error:  # DVC and its remotes raise many kinds; what cannot be had can be asked again
            note(f"the table in dvc.lock cannot be had ({' '.join(str(error).split())})")
            return nothing
