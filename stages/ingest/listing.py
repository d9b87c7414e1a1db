"""Caption listings: CSV, TSV and JSON Lines with a media file, a caption and optional times in each row."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cache.errors import UserError
from pipeline.media_place import MediaPlace
from pipeline.remote.address import is_url, path_of, shown
from pipeline.suggest import did_you_mean
from stages.ingest.annotations import Annotations, Segment
from stages.ingest.clock import seconds

COLUMNS = {
    "file": ("file", "path", "media", "video", "audio", "filename", "file_name", "url"),
    "caption": ("caption", "text", "description", "sentence"),
    "start": ("start", "start_s", "start_time", "begin"),
    "stop": ("stop", "stop_s", "end", "end_s", "stop_time", "end_time"),
}
SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")


def read_listing(path: Path, media: MediaPlace) -> Annotations:
    """Reads a listing.

    Rows that share file and times are one clip with several captions. A row that cannot be used becomes a fault
    and the others are read on.

    Args:
        path: the listing.
        media: where the files are, which may be named by URLs, too.

    Raises:
        UserError: the listing cannot be read or has no file column.
    """
    found: dict[tuple[Path, float | None, float | None], tuple[str, list[str]]] = {}
    paths: dict[str, Path] = {}
    annotations = Annotations()
    for place, row in _rows(path):
        name = row["file"].strip()
        try:
            start, stop = (seconds(row[key]) if row.get(key, "").strip() else None for key in ("start", "stop"))
            if not name:
                raise ValueError("no file is named")
            if name not in paths:
                paths[name] = _relative(name, media)
            if stop is not None and stop <= (start or 0.0):
                raise ValueError(f"the clip stops at {stop:g} s, before or when it starts at {start or 0.0:g} s")
        except ValueError as error:
            annotations.faults.append((shown(name) if is_url(name) else name, str(path), f"{place}: {error}"))
            continue
        _, captions = found.setdefault((paths[name], start, stop), (f"{path.name} {place}", []))
        caption = row.get("caption", "").strip()
        if caption and caption not in captions:
            captions.append(caption)
    for (file, start, stop), (where, captions) in found.items():
        annotations.segments.append(Segment(file, tuple(captions), start, stop, where))
    return annotations


def is_listing(path: Path) -> bool:
    """Whether a file is a table with captions, by its ending and its columns; a media list is none.

    Raises:
        UserError: it cannot be read.
    """
    if path.suffix.lower() not in SUFFIXES:
        return False
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        return True
    try:
        with path.open("rb") as file:  # what is wrong further down is said by who reads it
            head = file.readline().decode("utf-8-sig")
        names = {name.strip(' "').lower() for name in re.split("[,;\t]", head.strip())}
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}).") from None
    return bool(names & {*COLUMNS["caption"], *COLUMNS["start"]}) or "url" not in names


def urls_in(path: Path) -> list[str]:
    """The URLs that a listing names, each once.

    Raises:
        UserError: the listing cannot be read or has no file column.
    """
    names = (row.get("file", "").strip() for _, row in _rows(path))
    return list(dict.fromkeys(name for name in names if is_url(name)))


def _relative(name: str, media: MediaPlace) -> Path:
    """The file relative to the media folder where that is possible, and the path that stands for a URL.

    Raises:
        ValueError: no path can stand for this URL.
    """
    if is_url(name):
        return media.path_of(name) or path_of(name)
    path = Path(name)
    if path.is_absolute() and media.folder is not None and path.is_relative_to(media.folder.resolve()):
        return path.relative_to(media.folder.resolve())
    return path


def _rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Rows with canonical column names and empty strings for what is missing, each with its place."""
    try:
        if path.suffix.lower() in (".jsonl", ".ndjson"):
            yield from _json_rows(path)
            return
        with path.open(newline="", encoding="utf-8-sig") as file:
            header = file.readline()
            file.seek(0)
            delimiter = "\t" if path.suffix.lower() == ".tsv" else ";" if ";" in header and "," not in header else ","
            reader = csv.DictReader(file, delimiter=delimiter)
            names = _canonical(list(reader.fieldnames or []), path)
            for row in reader:
                yield f"row {reader.line_num}", {names[k]: v or "" for k, v in row.items() if k in names}
    except OSError as error:
        raise UserError(f"The caption file {path} cannot be read: {error.strerror}.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"The caption file {path} is no readable table ({error}): save it as CSV in UTF-8.") from None


def _json_rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row: Any = json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(f"{path} line {number} is no JSON object ({error.msg}).") from None
            if not isinstance(row, dict):
                raise UserError(f"{path} line {number} is no JSON object.")
            names = _canonical(list(row), path)
            captions = [row[k] for k in row if names.get(k) == "caption"]
            fields = {names[k]: str(v) for k, v in row.items() if k in names and v is not None}
            for caption in captions[0] if captions and isinstance(captions[0], list) else [fields.get("caption", "")]:
                yield f"line {number}", {**fields, "caption": str(caption)}


def _canonical(names: list[str], path: Path) -> dict[str, str]:
    """Column name -> canonical name, the first known alias of each winning."""
    lowered = {name.strip().lower(): name for name in names if name}
    chosen: dict[str, str] = {}
    for canonical, aliases in COLUMNS.items():
        for alias in aliases:
            if alias in lowered and lowered[alias] not in chosen:
                chosen[lowered[alias]] = canonical
                break
    if "file" not in chosen.values():
        guess = " ".join(f"{name!r}: {did_you_mean(name, ['file', 'caption', 'start', 'stop'])}" for name in lowered)
        raise UserError(f"{path} has no column `file` that names the media file of each row. {guess}".strip())
    return chosen
