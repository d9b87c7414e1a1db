"""Rows that a colleague has computed: a fresh clone takes them from the artifact that `dvc.lock` names.

DVC deletes a stage's outputs before its command runs, but still serves them as `dvc.lock` has them, from its cache or
straight from the remote.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cache.errors import UserError
from cache.exchange import import_rows
from cache.row_store import RowStore


def warm(store: RowStore, out: Path, wanted: Sequence[bytes]) -> int:
    """Copies rows that the store lacks from the last artifact at `out`.

    Nothing is fetched when the store lacks nothing, outside a DVC project, or when `dvc.lock` has no such output.

    Args:
        store: the row store to fill; rows of another encoder are left alone.
        out: the stage's output, relative to the project.
        wanted: row keys of the stage.

    Returns:
        How many rows were copied.
    """
    if not store.missing(wanted) or not Path(".dvc").is_dir() or not Path("dvc.lock").is_file():
        return 0
    with _fetched(out) as path:
        try:
            return import_rows(path, store) if path else 0
        except UserError:
            return 0  # of another encoder, damaged or older: its rows are computed anew


@contextmanager
def _fetched(out: Path) -> Iterator[Path | None]:
    """A copy of the output as `dvc.lock` has it, or None if there is none within reach."""
    from dvc.api import DVCFileSystem

    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / out.name
        try:
            files: Any = DVCFileSystem(".")
            if not files.exists(out.as_posix()):
                yield None
                return
            files.get(out.as_posix(), str(target), recursive=True)
        except Exception:  # DVC raises many kinds; whatever keeps it from the old rows, new ones can be computed
            yield None
            return
        yield target
