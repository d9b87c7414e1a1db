"""Rows that a colleague has computed: a fresh clone takes them from the artifact that `dvc.lock` names.

DVC deletes a stage's outputs before its command runs, but still serves them as `dvc.lock` has them, from its cache or
straight from the remote.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from cache.artifact import open_artifact
from cache.catalog import Lookup
from cache.keys import KeyIndex, Keys, pack_keys
from cache.row_store import RowStore
from cache.upkeep.exchange import import_rows
from pipeline.console.text import counted

FIRST = {"zarr.json", "keys"}


def may_be_had() -> bool:
    """Whether this is a DVC project with outputs of earlier runs."""
    return Path(".dvc").is_dir() and Path("dvc.lock").is_file()


def warm(store: RowStore, out: Path, wanted: Lookup, remark: Callable[[str], None]) -> None:
    """Copies rows that the store lacks from the last artifact at `out`.

    Nothing is fetched when the store lacks nothing, outside a DVC project, or when `dvc.lock` has no such output; of an
    artifact that is of another encoder or damaged, nothing is taken and its rows are computed anew.

    Args:
        store: the row store to fill.
        out: the stage's output, relative to the project.
        wanted: the keys of the stage's rows, looked up in the store.
        remark: told how many rows were copied, or why none could be.
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
            remark(f"the artifact in dvc.lock cannot be had ({' '.join(str(error).split())})")
        else:
            if copied:
                remark(f"{counted(copied, 'row')} from the artifact in dvc.lock")


def _copy(store: RowStore, out: Path, missing: Keys, target: Path) -> int:
    from dvc.api import DVCFileSystem

    files = DVCFileSystem(".")
    listed = files.ls(out.as_posix(), detail=False) if files.exists(out.as_posix()) else []
    parts = {Path(path).name for path in listed}
    if "zarr.json" not in parts:  # dvc.yaml names the output, but no run has made it yet
        return 0
    target.mkdir()
    for part in sorted(parts & FIRST):  # little, and says whether the rest is worth fetching
        files.get(f"{out.as_posix()}/{part}", str(target / part), recursive=True)
    artifact = open_artifact(target)
    if artifact.description.get("fingerprint") != store.description.fingerprint:
        return 0
    if (KeyIndex([pack_keys(missing)]).find(artifact.keys) < 0).all():
        return 0
    for part in sorted(parts - FIRST):
        files.get(f"{out.as_posix()}/{part}", str(target / part), recursive=True)
    return import_rows(artifact, store, missing, {"from": "the artifact in dvc.lock"})
