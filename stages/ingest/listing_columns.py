"""Which columns of a caption table hold what: by the names that published corpora and people give them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cache.errors import UserError
from pipeline.console.text import did_you_mean

FILE = (
    "file",
    "path",
    "media",
    "video",
    "audio",
    "filename",
    "file_name",
    "url",
    "file_path",
    "filepath",
    "fname",
    "audio_path",
    "video_path",
    "media_path",
    "audio_file",
    "video_file",
    "media_file",
)
ID = ("youtube_id", "ytid", "audiocap_id", "video_id", "audio_id", "sound_id", "clip_id", "id")
"""Columns that name media without their endings; taken where there is no column of files."""
CAPTION = ("caption", "text", "description", "sentence", "captions")
START = ("start", "start_s", "start_time", "begin")
STOP = ("stop", "stop_s", "end", "end_s", "stop_time", "end_time")
LABEL = ("label", "class", "category", "class_name")
LABELS = ("labels", "classes", "tags")
FOLD, SPLIT = ("fold",), ("split", "subset")
"""Columns of corpora with `classes:`: one class, several in a cell, and of which subsets a clip is."""

MOST_SHOWN, SHOWN = 20, 100
"""Columns in a message, and letters of each."""

_NUMBERED = re.compile(r"(caption|text|description|sentence)s?[ _-]?\d{1,3}")


@dataclass(frozen=True)
class Columns:
    """Positions of the columns of a table.

    Attributes:
        files: columns that may name the medium: one of files, or all of ids.
        captions: in their order; Clotho has five.
        start: of the clip's start, None if there is none.
        stop: of its end.
        label: of the clip's class, None if there is none or it was not asked for.
        labels: of several classes in a cell.
        fold: of the number of the clip's fold.
        split: of the name of the clip's subset.
    """

    files: tuple[int, ...]
    captions: tuple[int, ...]
    start: int | None
    stop: int | None
    label: int | None = None
    labels: int | None = None
    fold: int | None = None
    split: int | None = None


def known(names: Sequence[str]) -> int:
    """How many names of columns are known here."""
    return sum(is_known(_plain(name)) for name in names)


def is_known(name: str) -> bool:
    """Whether a column of this name (small letters, no spaces around it) is used."""
    return name in FILE + ID + CAPTION + START + STOP or _NUMBERED.fullmatch(name) is not None


def columns_of(names: Sequence[str], path: Path, rule: str = "", classes: bool = False) -> Columns:
    """The columns of a table with these names, the first known name of each kind winning.

    Args:
        names: of the columns.
        path: of the table, for messages.
        rule: how the names are found, for messages.
        classes: whether clips have classes.

    Raises:
        UserError: there is no column that names files, or with `classes` none of classes, or a column stands there
            twice.
    """
    plain = [_plain(name) for name in names]
    files = _first(plain, FILE, path) or tuple(k for name in ID for k in _first(plain, (name,), path))
    if not files:
        listed = ", ".join(repr(name[:SHOWN]) for name in names[:MOST_SHOWN]) or "none"
        near = next((name for name in plain if "mean" in did_you_mean(name, ["file"])), None)
        guess = f" {near!r}: {did_you_mean(near, ['file'])}" if near else ""
        raise UserError(
            f"{path} has no column `file` that names the media file of each row (columns: {listed}{rule}).{guess}"
        )
    captions: list[int] = []
    for base in CAPTION:
        captions = [k for k, name in enumerate(plain) if name == base or _base(name) == base]
        if captions:
            break
    start, stop = (_first(plain, aliases, path) for aliases in (START, STOP))
    found = Columns(files, tuple(captions), start[0] if start else None, stop[0] if stop else None)
    return _with_classes(found, plain, path) if classes else found


def has_classes(names: Sequence[str]) -> bool:
    """Whether a table with columns of these names has one of classes and none of captions."""
    plain = {_plain(name) for name in names}
    captions = any(name in CAPTION or _base(name) for name in plain)
    return bool(plain & {*LABEL, *LABELS}) and not captions


def _with_classes(found: Columns, plain: list[str], path: Path) -> Columns:
    label, labels, fold, split = (
        next(iter(_first(plain, aliases, path)), None) for aliases in (LABEL, LABELS, FOLD, SPLIT)
    )
    if label is None and labels is None:
        listed = ", ".join(repr(name[:SHOWN]) for name in plain[:MOST_SHOWN])
        raise UserError(
            f"{path} has no column `label` with the class of each row, or `labels` with several (columns: {listed}): "
            "rename it, or remove `classes:` from the corpus config."
        )
    return replace(found, label=label, labels=labels, fold=fold, split=split)


def _first(plain: list[str], aliases: Sequence[str], path: Path) -> tuple[int, ...]:
    """The column of the first alias that is there."""
    for alias in aliases:
        found = [k for k, name in enumerate(plain) if name == alias]
        if len(found) > 1:
            raise UserError(f"{path} has {len(found)} columns {alias!r}: remove or rename all but one.")
        if found:
            return tuple(found)
    return ()


def _base(name: str) -> str:
    match = _NUMBERED.fullmatch(name)
    return match[1] if match else ""


def _plain(name: str) -> str:
    return name.strip().lower()
