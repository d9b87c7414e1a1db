"""What to say when a file is missing that the catalogue knows."""

from __future__ import annotations

from pathlib import Path

from cache.errors import UserError
from pipeline.checkpoints.catalogue import CATALOGUE, load_catalogue


def not_found(path: Path) -> str:
    """`checkpoint not found: PATH`, with the command that fetches it if it is an official file or folder."""
    name = catalogued(path)
    remedy = f": run `hearonce checkpoints fetch {name}`" if name else ""
    return f"checkpoint not found: {path}{remedy}"


def existing(path: Path) -> Path:
    """The path of a checkpoint that an encoder's YAML names.

    Raises:
        UserError: there is no such file.
    """
    if not path.exists():
        raise UserError(f"{not_found(path)} (`checkpoint` in the encoder's YAML names it).")
    return path


def catalogued(path: Path) -> str | None:
    """The catalogue's name of the file or folder that belongs at a path, None if it has none."""
    if not CATALOGUE.is_file():
        return None
    try:
        entries = load_catalogue()
    except UserError:
        return None
    wanted = path.absolute()
    for name, entry in entries.items():
        place = entry.path.absolute()
        if wanted == place or (entry.folder is not None and place in wanted.parents):
            return name
    return None
