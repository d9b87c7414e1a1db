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

from cache.artifact import Artifact
from cache.errors import UserError
from cache.row_store import RowStore

COMMIT_ROWS = 65536


def warm(store: RowStore, out: Path, fingerprint: str, wanted: Sequence[bytes]) -> int:
    """Copies rows that the store lacks from the last artifact at `out`.

    Nothing is fetched when the store lacks nothing, outside a DVC project, or when `dvc.lock` has no such output.

    Args:
        store: the row store to fill.
        out: the stage's output, relative to the project.
        fingerprint: of the tower; rows of another are left alone.
        wanted: row keys of the stage.

    Returns:
        How many rows were copied.
    """
    missing = set(store.missing(wanted))
    if not missing or not Path(".dvc").is_dir() or not Path("dvc.lock").is_file():
        return 0
    with _fetched(out) as path:
        if path is None:
            return 0
        try:
            artifact = Artifact(path)
            if artifact.description.get("fingerprint") != fingerprint:
                return 0
            keys = [key.tobytes() for key in artifact.keys]
            rows = [row for row, key in enumerate(keys) if key in missing]
            values = artifact.numpy() if rows else None
        except UserError:
            return 0  # a damaged or older artifact: its rows are computed anew
        for start in range(0, len(rows), COMMIT_ROWS):
            block = rows[start : start + COMMIT_ROWS]
            assert values is not None
            store.append([keys[row] for row in block], values[block], {"from": "the artifact in dvc.lock"})
        return len(rows)


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
