"""A table as `dvc.lock` has it, while the stage that writes it anew is running; see `previous_artifact`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import polars as pl

from cache import tables as schemas


def previous_table(out: Path, schema: schemas.Schema, remark: Callable[[str], None]) -> pl.DataFrame:
    """The last version of a stage's output, from DVC's cache or its remote; empty if there is none to be had.

    Args:
        out: the output, relative to the project.
        schema: of the table.
        remark: told why it could not be had.
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
            remark(f"the table in dvc.lock cannot be had ({' '.join(str(error).split())})")
            return nothing
