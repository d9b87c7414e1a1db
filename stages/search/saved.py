"""A list of clips kept as a subset of its corpus, to be searched and scored like any other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from cache.durable import new_file
from cache.errors import UserError
from pipeline.config.subsets import FOLDER

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def save(corpus: str, name: str, clips: Sequence[str], note: str | None = None) -> Path:
    """Writes `configs/subsets/CORPUS/NAME.yaml`.

    Args:
        corpus: whose clips.
        name: of the subset: letters, digits, dashes, dots and underscores.
        clips: ids, in the order in which they are to stand; repeated ones once.
        note: becomes a comment at the top of the file.

    Returns:
        The file.

    Raises:
        UserError: the name cannot be one, or there is a subset of that name.
    """
    path = check_free(corpus, name)
    if not clips:
        raise UserError(f"Subset {name!r} would be empty.")
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        f"# {line}" for line in "".join(c if c.isprintable() or c == "\n" else " " for c in note or "").splitlines()
    ]
    document = yaml.safe_dump({"clips": list(dict.fromkeys(clips))}, allow_unicode=True, width=1000, sort_keys=False)
    with new_file(path) as temporary:
        temporary.write_text("\n".join([*lines, document]), encoding="utf-8")
    return path


def check_free(corpus: str, name: str) -> Path:
    """The file of a new subset.

    Raises:
        UserError: the name cannot be one, or there is a subset of that name.
    """
    if not NAME.fullmatch(name) or name == "all" or len(name) > 100:
        raise UserError(f"Subset {name!r}: take letters, digits, dashes, dots and underscores (and not `all`).")
    path = FOLDER / corpus / f"{name}.yaml"
    if path.exists():
        raise UserError(f"There is a subset {name!r} already ({path}): take another name, or delete it.")
    return path
