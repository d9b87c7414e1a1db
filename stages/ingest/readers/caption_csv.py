"""Readers `clotho`, `audiocaps` and `musiccaps`: corpora whose captions are published as CSV files."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cache.errors import UserError
from pipeline.config.corpus import CorpusConfig
from pipeline.config.params import CorpusPlace
from pipeline.formats.delimited import Items, Record, open_table, records
from pipeline.formats.text import escaped, fault_of_caption, read_text
from stages.ingest.annotations import Annotations
from stages.ingest.captioned import GIVEN, CaptionedClips, Entry
from stages.ingest.clip_media import CUT_FIELDS
from stages.ingest.cues import seconds

ASPECTS = "aspects"
AUDIOSET_S = 10.0
"""AudioCaps has clips of AudioSet."""
LONGEST_LIST = 10_000
"""Characters of a list of aspects."""


@dataclass(frozen=True)
class Table:
    """How a corpus writes its captions.

    Attributes:
        name: of the corpus, for messages.
        origin: where its files are had.
        columns: that are read.
        key: the column that names a row.
        key_form: of a key: how a row is told from the rest of a quoted cell with line breaks.
        entry: what a row says: from its cells, the subset of its file, and file and row for messages.
        fields: placeholders that `files.media` may have.
    """

    name: str
    origin: str
    columns: tuple[str, ...]
    key: str
    key_form: re.Pattern[str]
    entry: Callable[[Mapping[str, str], str, str], Entry]
    fields: tuple[str, ...]


YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}")
CLOTHO_CAPTIONS = tuple(f"caption_{number}" for number in range(1, 6))


def _clotho(cells: Mapping[str, str], subset: str, where: str) -> Entry:
    """Names of files may come again in another subset; the folder tells them apart."""
    name = cells["file_name"]
    captions = [(GIVEN, cells[column]) for column in CLOTHO_CAPTIONS]
    return Entry(
        f"{subset}/{name}",
        {"subset": subset, "file": name, "stem": name.removesuffix(".wav")},
        captions,
        [subset],
        where,
    )


def _audiocaps(cells: Mapping[str, str], subset: str, where: str) -> Entry:
    """A row for each caption; the clips of `val` and `test` have five."""
    video, start_s = cells["youtube_id"], seconds(cells["start_time"])
    stop_s = start_s + AUDIOSET_S
    return Entry(
        f"{video}@{start_s:.12g}-{stop_s:.12g}",
        {"subset": subset, "video": video},
        [(GIVEN, cells["caption"])],
        [subset],
        where,
        cut=(start_s, stop_s),
    )


def _musiccaps(cells: Mapping[str, str], subset: str, where: str) -> Entry:
    """One file; its columns say which clips are of AudioSet's evaluation set, and of the balanced thousand."""
    start_s, stop_s = seconds(cells["start_s"]), seconds(cells["end_s"])
    if stop_s <= start_s:
        raise ValueError(f"the clip stops at {stop_s:g} s and starts at {start_s:g} s")
    subsets = ["eval" if _is_true(cells, "is_audioset_eval") else "train"]
    if _is_true(cells, "is_balanced_subset"):
        subsets.append("balanced")
    return Entry(
        f"{cells['ytid']}@{start_s:.12g}-{stop_s:.12g}",
        {"video": cells["ytid"]},
        [(GIVEN, cells["caption"]), *_aspects(cells["aspect_list"])],
        subsets,
        where,
        cut=(start_s, stop_s),
    )


def _aspects(cell: str) -> list[tuple[str, str]]:
    """`['low quality', 'sad']` as the caption `low quality, sad`; none if the list is empty."""
    try:
        aspects = ast.literal_eval(cell) if len(cell) < LONGEST_LIST else None
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        aspects = None
    if not isinstance(aspects, list) or not all(isinstance(aspect, str) for aspect in aspects):
        raise ValueError(f"aspect_list is {escaped(cell)[:60]!r}, no list of texts")
    return [(ASPECTS, ", ".join(aspects))] if aspects else []


def _is_true(cells: Mapping[str, str], column: str) -> bool:
    if cells[column] not in ("True", "False"):
        raise ValueError(f"{column} is {cells[column][:60]!r}, neither True nor False")
    return cells[column] == "True"


CLOTHO = Table(
    "Clotho",
    "doi.org/10.5281/zenodo.4783391 (v2.1) or doi.org/10.5281/zenodo.3490684 (v1)",
    ("file_name", *CLOTHO_CAPTIONS),
    "file_name",
    re.compile(r".+\.wav"),
    _clotho,
    ("file", "stem", "subset"),
)
AUDIOCAPS = Table(
    "AudioCaps",
    "github.com/cdjkim/audiocaps (dataset/)",
    ("audiocap_id", "youtube_id", "start_time", "caption"),
    "audiocap_id",
    re.compile(r"\d{1,9}"),
    _audiocaps,
    ("video", "subset", *CUT_FIELDS),
)
MUSICCAPS = Table(
    "MusicCaps",
    "kaggle.com/datasets/googleai/musiccaps or huggingface.co/datasets/google/MusicCaps",
    ("ytid", "start_s", "end_s", "aspect_list", "caption", "is_balanced_subset", "is_audioset_eval"),
    "ytid",
    YOUTUBE_ID,
    _musiccaps,
    ("video", *CUT_FIELDS),
)


def _read(table: Table, place: CorpusPlace, config: CorpusConfig) -> Annotations:
    """Reads the files of `files.subsets`, each a subset of the corpus; of MusicCaps the file `files.name`.

    Raises:
        UserError: all files are missing, or one is not of this corpus.
    """
    options, clips = config.files, CaptionedClips()
    files = options.subsets or ({"": options.name} if table is MUSICCAPS and options.name else {})
    if not files:
        where = "files.name" if table is MUSICCAPS else "files.subsets"
        raise UserError(f"{where} of the corpus config names no caption file of {table.name}.")
    keys: dict[str, str] = {}
    missing = []
    for subset, name in files.items():
        path = place.annotations / name
        if not path.exists():
            missing.append((subset, path))
            continue
        for cells, where in _rows(table, path, clips):
            key = f"{subset}/{cells[table.key]}" if table is CLOTHO else cells[table.key]
            if key in keys:
                reason = f"{where}: {table.key} {escaped(cells[table.key])} stands in {keys[key]} already"
                clips.faults.append((escaped(key), str(path), reason))
                continue
            keys[key] = where
            try:
                clips.add(table.entry(cells, subset, where), path)
            except ValueError as error:
                clips.faults.append((escaped(key), str(path), f"{where}: {error}"))
    if len(missing) == len(files):
        paths = " and ".join(str(path) for _, path in missing)
        raise UserError(
            f"{paths} {'is' if len(missing) == 1 else 'are'} missing: get {table.name} from {table.origin}."
        )
    for subset, path in missing:
        clips.notes.append(f"subset {subset} is left out: {path} is missing (get it from {table.origin})")
    return clips.annotations(place, config, table.fields, place.annotations)


def _rows(table: Table, path: Path, clips: CaptionedClips) -> Iterator[tuple[dict[str, str], str]]:
    """The cells of each row by column, and file and row for messages; rows that cannot be read are faults.

    Raises:
        UserError: the file cannot be read, or lacks a column.
    """
    text = read_text(path, "caption file").text
    opened = open_table(text, lambda header: len(set(header) & set(table.columns)))
    position = {name: column for column, name in enumerate(opened.header)}
    lacking = [name for name in table.columns if name not in position]
    if lacking:
        raise UserError(
            f"{path} has no column {' and no '.join(map(repr, lacking))} (it has {_listed(opened.header)}): take the "
            f"file of {table.name} from {table.origin}."
        )
    key = position[table.key]
    n_rows = 0
    for record in records(opened, Items(key, lambda cell: table.key_form.fullmatch(cell) is not None)):
        n_rows += 1
        where = f"{path.name} row {record.line}"
        cells = {name: record.cells[position[name]].strip() for name in table.columns} if not record.fault else {}
        if reason := _fault(record, cells, table):
            shown = record.cells[key] if key < len(record.cells) else str(record.line)
            clips.faults.append((escaped(shown)[:100], str(path), f"{where}: {reason}"))
        else:
            yield cells, where
    if not n_rows:
        raise UserError(f"{path} has no rows: get {table.name} from {table.origin} again.")


def _fault(record: Record, cells: Mapping[str, str], table: Table) -> str | None:
    """Why a row cannot be used."""
    if record.fault:
        return record.fault
    if record.n_fields:
        return f"it has {record.n_fields} fields, the header {len(record.cells)}"
    if table.key_form.fullmatch(cells[table.key]) is None or fault_of_caption(cells[table.key]):
        return f"{table.key} is {escaped(cells[table.key])[:60]!r}"
    if "youtube_id" in cells and YOUTUBE_ID.fullmatch(cells["youtube_id"]) is None:
        return f"youtube_id is {escaped(cells['youtube_id'])[:60]!r}"
    return None


def _listed(header: list[str]) -> str:
    return ", ".join(escaped(name)[:40] for name in header[:12]) or "none"


read_clotho = partial(_read, CLOTHO)
read_audiocaps = partial(_read, AUDIOCAPS)
read_musiccaps = partial(_read, MUSICCAPS)
