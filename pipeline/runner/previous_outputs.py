"""Rows that a colleague has computed: a fresh clone takes them from the artifact that `dvc.lock` names.

DVC deletes a stage's outputs before its command runs, but still serves them as `dvc.lock` has them, from its cache or
straight from the remote.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

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
    """The parts of an output of a stage of dvc.yaml."""
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
    files = {key[len(inside) :]: oid for key, _, oid in tree if key[: len(inside)] == inside}

    def copier(part: str) -> Callable[[Path], None]:
        def copy(target: Path) -> None:
            for key, oid in files.items():
                if key[0] == part:
                    path = target.joinpath(*key[1:])
                    path.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(cache.oid_to_path(oid.value), path)

        return copy

    return {key[0]: copier(key[0]) for key in files}


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
    stages = load_yaml(Path("dvc.lock")).get("stages", {})
    for stage in stages.values():
        for one in stage.get("outs", []):
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
            from dvc.api import DVCFileSystem

            DVCFileSystem(".").get(out.as_posix(), str(Path(folder) / out.name))
            return schemas.read_table(Path(folder) / out.name, schema)
        except Exception as error:  # DVC and its remotes raise many kinds; what cannot be had can be asked again
            note(f"the table in dvc.lock cannot be had ({' '.join(str(error).split())})")
            return nothing
