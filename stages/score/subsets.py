"""Named selections of clips: text files under `configs/subsets/<corpus>/`, one id a line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from cache.errors import UserError
from pipeline.suggest import did_you_mean

SUBSETS = Path("configs/subsets")
ALL = "all"


def read_subset(corpus: str, name: str, clip_ids: Sequence[str], remark: Callable[[str], None] = print) -> set[str]:
    """Clip ids of a subset; `all` needs no file.

    A line names a clip, or a media file and with it all its clips; a line that starts with `#` is a comment.

    Args:
        corpus: whose subset.
        name: file name without suffix.
        clip_ids: the clips of the corpus.
        remark: told of lines that name no clip: a typo, or a medium that could not be read.

    Raises:
        UserError: there is no such file, or none of its lines names a clip.
    """
    if name == ALL:
        return set(clip_ids)
    path = SUBSETS / corpus / f"{name}.txt"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        known = [one.stem for one in path.parent.glob("*.txt")]
        raise UserError(f"No subset {name!r} of {corpus!r} ({path} is missing): {did_you_mean(name, known)}") from None
    of_media: dict[str, list[str]] = {}
    for clip_id in clip_ids:
        of_media.setdefault(clip_id.rpartition("@")[0] or clip_id, []).append(clip_id)
    known_ids = set(clip_ids)
    chosen: set[str] = set()
    strangers: list[str] = []
    for number, line in enumerate(lines, 1):
        wanted = line.strip()
        if not wanted or wanted.startswith("#"):
            continue
        if wanted not in known_ids and wanted not in of_media:
            strangers.append(f"line {number} names no clip, {wanted!r} ({did_you_mean(wanted, known_ids)})")
            continue
        chosen.update([wanted] if wanted in known_ids else of_media[wanted])
    if not chosen:
        raise UserError(f"{path} names no clip{': ' if strangers else '.'}{'; '.join(strangers[:3])}")
    if strangers:
        remark(f"{path}: {strangers[0]}" + (f" and {len(strangers) - 1} more" if len(strangers) > 1 else ""))
    return chosen
