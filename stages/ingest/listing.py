"""Caption listings: CSV, TSV and JSON Lines with a media file, captions and optional times in each row."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from cache.errors import UserError
from pipeline.config.classes import FOLD
from pipeline.config.corpus import ClassSettings
from pipeline.console.text import counted
from pipeline.formats.delimited import Items, Table, lines_of, open_table, records, sample
from pipeline.formats.text import escaped, fault_of_caption, read_text
from pipeline.media.location import MediaPlace
from pipeline.remote.address import is_url, shown
from stages.ingest.annotations import Annotations, Segment
from stages.ingest.cues import seconds
from stages.ingest.listing_columns import CAPTION, ID, START, Columns, columns_of, has_classes, known
from stages.ingest.media_files import MediaNames, has_media_ending

LINES = (".jsonl", ".ndjson")
SUFFIXES = (".csv", ".tsv", *LINES)
WHAT = "caption file"
SAMPLED = 1000
"""Lines that tell which of several columns of ids names the media, and whether names have endings."""
HEADER_RULE = "; the first line names them, with commas, semicolons, tabs or pipes between"
SHOWN = 300
"""Letters of a name in messages."""


class Row(NamedTuple):
    """What a row says, not yet checked.

    Attributes:
        place: `row 2`, `line 2`.
        name: of the medium.
        captions: texts, or what stands in their place.
        times: start and stop; None or an empty text where there is none.
        fault: why the row cannot be read, else None.
        classes: names of classes, or what stands in their place.
        subsets: names of subsets, likewise.
    """

    place: str
    name: Any
    captions: list[Any]
    times: tuple[Any, Any] = (None, None)
    fault: str | None = None
    classes: tuple[Any, ...] = ()
    subsets: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class _Found:
    """What the rows of one clip say: where the first stands, and each text, class and subset once."""

    where: str
    captions: dict[str, None] = field(default_factory=dict)
    classes: dict[str, None] = field(default_factory=dict)
    subsets: dict[str, None] = field(default_factory=dict)


def read_listing(path: Path, media: MediaPlace, classes: ClassSettings | None = None) -> Annotations:
    """Reads a listing.

    Rows that share file and times are one clip with several captions. A row that cannot be used becomes a fault
    and the others are read on.

    Args:
        path: the listing.
        media: where the files are, which may be named by URLs, too.
        classes: of a corpus whose clips have classes; None leaves columns of them unread.

    Raises:
        UserError: the listing cannot be read or has no file column.
    """
    found: dict[tuple[Path, float | None, float | None], _Found] = {}
    names = MediaNames(media)
    annotations = Annotations()
    any_caption, file_name = False, path.name
    for row in _rows(path, names, annotations.notes, classes):
        try:
            media_path, start, stop = _clip(row, names)
        except ValueError as error:
            annotations.faults.append((_shown(row.name), str(path), f"{row.place}: {escaped(str(error))}"))
            continue
        captions, reasons = _texts(row.captions)
        own, faults = _texts([*row.classes], "a class")
        annotations.faults += [(_shown(row.name), str(path), f"{row.place}: {reason}") for reason in reasons + faults]
        if faults or (reasons and not captions):
            continue
        any_caption |= bool(captions)
        key = (media_path, start, stop)
        if key not in found:
            found[key] = _Found(f"{file_name} {row.place}")
        found[key].captions.update(dict.fromkeys(captions))
        found[key].classes.update(dict.fromkeys(own))
        found[key].subsets.update(dict.fromkeys(_texts([*row.subsets])[0]))
    for (file, start, stop), one in found.items():
        texts, labels, subsets = tuple(one.captions), tuple(one.classes), tuple(one.subsets)
        annotations.segments.append(Segment(file, texts, start, stop, one.where, labels, subsets))
    if classes is not None:
        if n_without := sum(not one.classes for one in found.values()):
            annotations.notes.append(f"{counted(n_without, 'clip')} of {path} without a class")
    elif found and not any_caption and not annotations.notes:
        annotations.notes.append(f"no row of {path} has a caption")
    return annotations


def is_listing(path: Path) -> bool:
    """Whether a file is a table with captions, by its ending and its columns; a media list is none.

    Raises:
        UserError: it cannot be read.
    """
    if path.suffix.lower() not in SUFFIXES:
        return False
    if path.suffix.lower() in LINES:
        return True
    names = {name.strip().lower() for name in _open_table(path, []).header}
    return bool(names & {*CAPTION, *START}) or "url" not in names


def urls_in(path: Path) -> list[str]:
    """The URLs that a listing names, each once.

    Raises:
        UserError: the listing cannot be read or has no file column.
    """
    names = (row.name.strip() for row in _rows(path, None, []) if isinstance(row.name, str))
    return list(dict.fromkeys(name for name in names if is_url(name)))


def _clip(row: Row, names: MediaNames) -> tuple[Path, float | None, float | None]:
    """The medium and the times of a row.

    Raises:
        ValueError: says what is wrong with it.
    """
    if row.fault is not None:
        raise ValueError(row.fault)
    name = "" if row.name is None else row.name
    if not isinstance(name, str):
        raise ValueError(f"the file is {_kind(name)}, not a text")
    path = names.path(name.strip())
    start, stop = _time(row.times[0]), _time(row.times[1])
    if stop is not None and stop <= (start or 0.0):
        raise ValueError(f"the clip stops at {stop:g} s, before or when it starts at {start or 0.0:g} s")
    return path, start, stop


def _time(value: Any) -> float | None:
    if isinstance(value, str):
        return seconds(value) if value and not value.isspace() else None
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"a time is {_kind(value)}, not a number")
    return seconds(repr(value))


def _texts(captions: list[Any], what: str = "a caption") -> tuple[list[str], list[str]]:
    """The texts that can be captions (or names of classes), and why others cannot."""
    texts, reasons = [], []
    for caption in captions:
        if caption is None:
            continue
        if not isinstance(caption, str):
            reasons.append(f"{what} is {_kind(caption)}, not a text")
        elif reason := fault_of_caption(caption):
            reasons.append(reason)
        elif text := caption.strip():
            texts.append(text)
    return texts, reasons


def _kind(value: Any) -> str:
    if value is None:
        return "missing"
    if isinstance(value, bool):
        return "true or false"
    return {int: "a number", float: "a number", list: "a list", dict: "an object"}.get(type(value), "no text")


def _shown(name: Any) -> str:
    name = name.strip() if isinstance(name, str) else "" if name is None else repr(name)
    name = name if len(name) <= SHOWN else name[:SHOWN] + "…"
    return escaped(shown(name) if is_url(name) else name)


def is_classified(path: Path) -> bool:
    """Whether a listing has a column of classes and none of captions.

    Raises:
        UserError: it cannot be read.
    """
    if path.suffix.lower() in LINES:
        with contextlib.suppress(ValueError, StopIteration):
            lines = lines_of(read_text(path, WHAT)[0])
            return has_classes([*_object(next(line for line in lines if line.strip()))])
        return False
    return has_classes(_open_table(path, []).header)


def _rows(
    path: Path, names: MediaNames | None, notes: list[str], classes: ClassSettings | None = None
) -> Iterator[Row]:
    if path.suffix.lower() in LINES:
        return _json_rows(path, notes, classes)
    return _table_rows(path, names, notes, classes)


def _open_table(path: Path, notes: list[str]) -> Table:
    text, note = read_text(path, WHAT)
    notes += [note] if note else []
    return open_table(text, known, "\t" if path.suffix.lower() == ".tsv" else ",")


def _table_rows(path: Path, names: MediaNames | None, notes: list[str], classes: ClassSettings | None) -> Iterator[Row]:
    """Rows of a CSV or TSV file."""
    table = _open_table(path, notes)
    columns = columns_of(table.header, path, HEADER_RULE, classes is not None)
    items = _items(table, _file_column(table, columns, names, path), names)
    notes += _column_notes(table, columns, path)
    comments: list[int] = []
    given = (one for one in (columns.label, columns.labels) if one is not None)
    n_needed = max((*columns.captions, *given), default=-1) + 1
    missed = "the caption" if columns.captions else "the class"
    for line, cells, fault, n_fields in records(table, items, comments):
        if 0 < n_fields < n_needed:
            has = f"it has {counted(n_fields, 'field')}, the header {len(table.header)}"
            fault = fault or f"{has}: write {missed}, or the separators of empty cells"
        start, stop = (None if column is None else cells[column] for column in (columns.start, columns.stop))
        captions, own = [cells[k] for k in columns.captions], (_classes(cells, columns, classes) if classes else ())
        yield Row(f"row {line}", cells[items.column], captions, (start, stop), fault, own, _subsets(cells, columns))
    if comments:
        notes.append(f"{counted(len(comments), 'line')} of {path} with # passed over")


def _file_column(table: Table, columns: Columns, names: MediaNames | None, path: Path) -> int:
    """The column of files; of several with ids the one that names most media."""
    header = [name.strip().lower() for name in table.header]
    if names is None or header[columns.files[0]] not in ID:
        return columns.files[0]
    hits: Counter[int] = Counter({column: 0 for column in columns.files})
    for cells in sample(table, SAMPLED):
        hits.update(column for column in columns.files if column < len(cells) and names.finds(cells[column]))
    column, n = max(hits.items(), key=lambda hit: hit[1])
    if not n:
        raise UserError(
            f"{path} has no column `file` that names the media file of each row, and its column "
            f"{table.header[columns.files[0]]!r} names none of the media."
        )
    return column


def _items(table: Table, column: int, names: MediaNames | None) -> Items:
    """How rows are known: by the endings of their names if any of the first has one."""
    if names is None:
        return Items(column, is_url)
    by_form = any(column < len(cells) and has_media_ending(cells[column]) for cells in sample(table, SAMPLED))
    return Items(column, names.is_name, by_form)


def _column_notes(table: Table, columns: Columns, path: Path) -> list[str]:
    notes = []
    if not columns.captions and columns.label is None and columns.labels is None:
        listed = ", ".join(repr(name) for name in table.header[:20])
        notes.append(f"no caption column is known in {path}, which has {listed}: call one `caption`")
    if columns.start is not None and columns.stop is None:
        notes.append(
            f"{path} has a column {table.header[columns.start].strip()!r} and none of ends: clips last to the end of "
            "their media"
        )
    return notes


def _classes(cells: Sequence[Any], columns: Columns, settings: ClassSettings) -> tuple[Any, ...]:
    """The classes of a row: a cell of one, and a cell or list of several."""
    found = [] if columns.label is None else [cells[columns.label]]
    several = None if columns.labels is None else cells[columns.labels]
    if isinstance(several, str):
        several = [one for one in several.split(settings.separator) if one.strip()]
    return (*found, *(several if isinstance(several, list) else [several]))


def _subsets(cells: Sequence[Any], columns: Columns) -> tuple[Any, ...]:
    """The subsets of a row: its fold, and its split by its name."""
    fold, split = (None if column is None else cells[column] for column in (columns.fold, columns.split))
    named = "" if fold is None or isinstance(fold, bool) else str(fold).strip().removeprefix(FOLD)
    return (f"{FOLD}{named}" if named else None, split if isinstance(split, str) else None)


def _json_rows(path: Path, notes: list[str], classes: ClassSettings | None) -> Iterator[Row]:
    """Rows of a JSON Lines file.

    Raises:
        UserError: no line of the file is an object.
    """
    text, note = read_text(path, WHAT)
    notes += [note] if note else []
    known_columns: dict[tuple[str, ...], Columns] = {}
    held: list[Row] = []  # faults, until a line can be read
    any_object = False
    for number, line in enumerate(lines_of(text), 1):
        if not line.strip():
            continue
        try:
            row = _object(line)
            keys = tuple(row)
            if keys not in known_columns:
                known_columns[keys] = columns_of(keys, path, classes=classes is not None)
            held.append(_json_row(f"line {number}", list(row.values()), known_columns[keys], classes))
            any_object = True
        except ValueError as error:
            held.append(Row(f"line {number}", "", [], fault=str(error)))
        except UserError as error:  # of its columns
            held.append(Row(f"line {number}", "", [], fault=str(error).removeprefix(f"{path} ")))
        if any_object:
            yield from held
            held.clear()
    if held:
        raise UserError(f"{path} {held[0].place} {held[0].fault}".rstrip(".") + ".")


def _json_row(place: str, values: list[Any], columns: Columns, classes: ClassSettings | None) -> Row:
    captions: list[Any] = []
    for position in columns.captions:
        value = values[position]
        captions += value if isinstance(value, list) else [value]
    start, stop = (None if position is None else values[position] for position in (columns.start, columns.stop))
    own = _classes(values, columns, classes) if classes else ()
    return Row(place, values[columns.files[0]], captions, (start, stop), None, own, _subsets(values, columns))


def _object(line: str) -> dict[str, Any]:
    """Raises ValueError if it is no JSON object that can be read."""
    try:
        row = _DECODER.decode(line)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"is no JSON object ({error.msg})") from None
    if not isinstance(row, dict):
        raise ValueError("is no JSON object")
    return row


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        twice = next(name for name, n in Counter(name for name, _ in pairs).items() if n > 1)
        raise ValueError(f"names {twice!r} more than once")
    return row


_DECODER = json.JSONDecoder(object_pairs_hook=_once)
