"""What a write may replace: nothing, something empty, or a file or folder of the same kind that hearonce made."""

from __future__ import annotations

import os
from pathlib import Path

from cache.errors import UserError

_IN_A_GROUP = ("zarr.json", "keys", "values", "offsets", "ids")
_LOOKED_AT = 1 << 16


def target_of(path: Path | str) -> Path:
    """The path to write an artifact or export to.

    Raises:
        UserError: it is a URL, or something stands there that hearonce did not make.
    """
    if "://" in str(path):
        raise UserError(f"{path} was not written: it is a URL, so write to a folder of this machine and upload that.")
    path = Path(path)
    if not path.exists():
        return path
    if not (_is_group(path) if path.suffix == ".zarr" else _is_file_of_ours(path)):
        raise UserError(
            f"{path} was not written: something that hearonce did not make stands there, so move it away or choose "
            "another name."
        )
    return path


def _is_group(path: Path) -> bool:
    """Whether a folder is empty or a Zarr artifact, perhaps a damaged one, and holds nothing else."""
    if not path.is_dir():
        return False
    names = set(os.listdir(path))
    if any(name not in _IN_A_GROUP and not name.startswith("side.") for name in names):
        return False
    description = path / "zarr.json"
    return not names or (b"hearonce" in description.read_bytes() if description.is_file() else "values" in names)


def _is_file_of_ours(path: Path) -> bool:
    """Whether a file is empty, or has near its beginning or end the word that every format of ours puts there."""
    if not path.is_file():
        return path.is_dir() and not os.listdir(path)
    with open(path, "rb") as file:
        beginning = file.read(_LOOKED_AT)
        file.seek(max(0, path.stat().st_size - _LOOKED_AT))
        return not beginning or b"hearonce" in beginning or b"hearonce" in file.read()
