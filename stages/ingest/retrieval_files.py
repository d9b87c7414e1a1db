"""Annotation files in the style of EPIC-KITCHENS-100 multi-instance retrieval: clips, sentences and their relevancy."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cache import tables as schemas
from cache.errors import UserError
from pipeline.config.corpus import OfficialFiles
from pipeline.formats.pickled_arrays import read_array
from pipeline.formats.text import fault_of_text, read_text
from stages.ingest.annotations import Caption
from stages.ingest.cues import seconds

MOST_DIGITS = 9
_FRAME = re.compile(rf"[0-9]{{1,{MOST_DIGITS}}}")
ID, PARTICIPANT, VIDEO, START_FRAME, STOP_FRAME, NARRATION = 0, 1, 2, 6, 7, 8


@dataclass(frozen=True)
class FileNames:
    """Names of one variant's files, relative to the annotation folder.

    Attributes:
        clips: a row per clip.
        sentences: a row per unique sentence.
        relevancy: pickled (clips, sentences); None if there is none.
        origin: where to get them.
    """

    clips: str
    sentences: str
    relevancy: str | None
    origin: str

    def gpt(self) -> FileNames:
        """The files of the descriptions by a language model, beside these."""
        relevancy = None if self.relevancy is None else self.relevancy.removesuffix(".pkl") + "_gpt.pkl"
        clips, sentences = (name.removesuffix(".csv") + "_gpt.csv" for name in (self.clips, self.sentences))
        return FileNames(clips, sentences, relevancy, self.origin)


@dataclass(frozen=True)
class ClipRows:
    """Rows of a clip file, in its order.

    Attributes:
        path: the file.
        rows: all columns.
        times: start and stop in seconds.
        header: names of the columns.
    """

    path: Path
    rows: list[list[str]]
    times: list[tuple[float, float]]
    header: list[str]

    def column(self, position: int) -> list[str]:
        """The cells of a column, in the order of the rows."""
        return [row[position] for row in self.rows]

    def classes(self, name: str) -> list[frozenset[int]]:
        """Class numbers of each row, written `3` or `[3, 17]`.

        Raises:
            UserError: the file has no such column, or a number there is absurd.
        """
        if name not in self.header:
            raise UserError(f"{self.path} has no column {name!r}, from which relevancy is built: use relevancy: file.")
        position = self.header.index(name)
        classes = [frozenset(re.findall(r"[0-9]+", row[position])) for row in self.rows]
        for number, row in enumerate(classes, 2):
            if any(len(digits) > MOST_DIGITS for digits in row):
                raise UserError(f"{self.path} row {number}: {name!r} holds a number of more than {MOST_DIGITS} digits.")
        return [frozenset(map(int, row)) for row in classes]


def read_clips(folder: Path, name: str, origin: str) -> ClipRows:
    """Reads a clip file.

    Raises:
        UserError: it is missing, or a row cannot be read.
    """
    path = folder / name
    header, rows = _table(path, origin, NARRATION + 1)
    try:
        start, stop = header.index("start_timestamp"), header.index("stop_timestamp")
    except ValueError:
        raise UserError(f"{path} has no columns start_timestamp and stop_timestamp: fetch it again.") from None
    times = []
    for number, row in enumerate(rows, 2):
        try:
            times.append((seconds(row[start]), seconds(row[stop])))
            if not all(_FRAME.fullmatch(row[column]) for column in (START_FRAME, STOP_FRAME)):
                raise ValueError("columns 7 and 8 are no frame numbers")
        except ValueError as error:
            raise UserError(f"{path} row {number}: {error}; fetch the file again.") from None
    return ClipRows(path, rows, times, header)


def read_sentences(folder: Path, name: str, origin: str) -> list[tuple[str, str]]:
    """Reads a sentence file: the id of a clip that it describes, and the sentence.

    Raises:
        UserError: it is missing, or a row cannot be read.
    """
    return [(row[0], row[1]) for row in _table(folder / name, origin, 2)[1]]


def read_relevancy(path: Path, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Reads a relevancy matrix.

    Args:
        path: a pickled array.
        shape: clips and sentences of the files it belongs to.

    Raises:
        UserError: it is no such matrix, of another shape, or has values outside 0 to 1.
    """
    values = read_array(path)
    if values.shape != shape:
        raise UserError(
            f"{path} has shape {values.shape}, the csv files have {shape[0]} clips and {shape[1]} sentences: take all "
            "three from the same release."
        )
    matrix = np.asarray(values, np.float64)
    if matrix.size and not (matrix.min() >= 0 and matrix.max() <= 1):
        raise UserError(f"{path} has values outside 0 to 1: fetch it again.")
    return matrix


def _table(path: Path, origin: str, n_columns: int) -> tuple[list[str], list[list[str]]]:
    if not path.exists():
        raise UserError(f"{path} is missing: get it from {origin}.")
    text = read_text(path, "annotation file").text
    try:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        header = next(reader, [])
        rows = [row for row in reader if row]
    except csv.Error as error:
        raise UserError(f"{path} is no readable table ({error}): fetch it again.") from None
    for number, row in enumerate(rows, 2):
        if not n_columns <= len(row) <= max(len(header), n_columns):
            how = f"fewer than {n_columns} columns" if len(row) < n_columns else "more columns than the header"
            raise UserError(f"{path} has {how} in row {number}: fetch it again.")
        if reason := next((reason for cell in row if (reason := fault_of_text(cell))), None):
            raise UserError(f"{path} row {number}: {reason}, or fetch the file again.")
    if not rows:
        raise UserError(f"{path} has no rows: fetch it again.")
    return header, rows


def built_relevancy(
    clip_classes: Sequence[Sequence[frozenset[int]]], sentence_classes: Sequence[Sequence[frozenset[int]]]
) -> NDArray[np.float64]:
    """The mean over kinds of class (verbs, nouns) of the intersection over union of each clip's and sentence's classes.

    EPIC-KITCHENS-100's rule for multi-instance retrieval (Damen et al., Rescaling Egocentric Vision, 2022).

    Args:
        clip_classes: per kind, the classes of each clip.
        sentence_classes: per kind, those of each sentence.

    Returns:
        (clips, sentences) in 0 to 1; two empty sets have nothing in common.
    """
    total: NDArray[np.float64] | None = None
    for clips, sentences in zip(clip_classes, sentence_classes, strict=True):
        clip_sets, clip_rows = _distinct(clips)
        sentence_sets, sentence_rows = _distinct(sentences)
        n_classes = 1 + max((max(classes, default=0) for classes in (*clip_sets, *sentence_sets)), default=0)
        left, right = _indicators(clip_sets, n_classes), _indicators(sentence_sets, n_classes)
        common = left @ right.T
        union = left.sum(axis=1)[:, None] + right.sum(axis=1) - common
        iou = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
        if total is None:
            total = iou[clip_rows][:, sentence_rows]
        else:
            total += iou[clip_rows][:, sentence_rows]
    if total is None:
        raise ValueError("no kind of class is given")
    total /= len(clip_classes)
    return total


def _distinct(sets: Sequence[frozenset[int]]) -> tuple[list[frozenset[int]], NDArray[np.intp]]:
    numbers = {classes: number for number, classes in enumerate(dict.fromkeys(sets))}
    return list(numbers), np.array([numbers[classes] for classes in sets], np.intp)


def _indicators(sets: Sequence[frozenset[int]], n_classes: int) -> NDArray[np.float64]:
    result = np.zeros((len(sets), n_classes))
    for row, classes in enumerate(sets):
        result[row, list(classes)] = 1
    return result


VISUAL, GPT = "visual", "gpt"
MOST_CELLS = 2**28
CLASSES = {"caption": ("verb_class", "all_noun_classes"), "verb": ("verb_class",), "noun": ("all_noun_classes",)}


@dataclass(frozen=True)
class CaptionSource:
    """Attributes:
    captions: the unique sentences in the order of the relevancy columns; then texts of clips that no sentence has.
    n_sentences: how many of them are sentences.
    own: per clip, the position of its own text in `captions`.
    relevancy: (clips, sentences), or None.
    notes: what the user should know.
    """

    captions: list[Caption]
    n_sentences: int
    own: list[int]
    relevancy: NDArray[np.float64] | None
    notes: list[str]

    def by_text(self) -> dict[str, list[int]]:
        """Positions of the captions of each text."""
        return _positions(caption.text for caption in self.captions)

    def relevancy_frame(self, clip_ids: list[str]) -> pl.DataFrame:
        """The non-zero relevancies as a frame of the schema `RELEVANCY`.

        A sentence to which no clip is relevant has a 0 for each clip of its text, so that it is searched and found all
        the same, as the original code does.
        """
        if self.relevancy is None:
            return schemas.table([], schemas.RELEVANCY)
        listed = self.relevancy != 0
        first = {text: positions[0] for text, positions in self.by_text().items()}
        text_of = np.array([first[caption.text] for caption in self.captions])
        own = text_of[np.array(self.own, np.int64)]
        for column in np.flatnonzero(~listed.any(axis=0)):
            listed[:, column] = own == text_of[column]
        rows, columns = np.nonzero(listed)
        captions = pl.Series([caption.caption_id for caption in self.captions], dtype=pl.String)
        return pl.DataFrame(
            {
                "clip_id": pl.Series(clip_ids, dtype=pl.String).gather(rows),
                "caption_id": captions.gather(columns),
                "relevancy": self.relevancy[rows, columns],
            },
            schema=dict(schemas.RELEVANCY),
        )


def unique_ids(ids: Iterable[str]) -> list[str]:
    """The same ids, those that have occurred before with `#2`, `#3`, ... added."""
    seen: Counter[str] = Counter()
    result = []
    for id in ids:
        seen[id] += 1
        result.append(id if seen[id] == 1 else f"{id}#{seen[id]}")
    return result


def read_caption_source(
    source: str, folder: Path, names: FileNames, clips: ClipRows, options: OfficialFiles
) -> CaptionSource:
    """Reads `visual` labels or `gpt` descriptions.

    A sentence's text is that of the clip whose id the sentence file gives, for the original code embeds no other; each
    clip's own text is the caption of that text, the most relevant one where several have it.

    Args:
        source: `visual` or `gpt`.
        folder: of the annotation files.
        names: of the visual files.
        clips: rows of the visual clip file.
        options: which relevancy.

    Raises:
        UserError: a file is missing or damaged, or the files do not belong together.
    """
    files = names.gpt() if source == GPT else names
    rows = read_clips(folder, files.clips, names.origin) if source == GPT else clips
    ids = clips.column(ID)
    for number, (id, other) in enumerate(zip(ids, rows.column(ID), strict=False), 2):
        if id != other:
            raise UserError(
                f"{rows.path} row {number} is clip {other}, {clips.path} has {id} there: the order must agree."
            )
    if len(ids) != len(rows.rows):
        raise UserError(f"{rows.path} has {len(rows.rows)} clips, {clips.path} {len(ids)}: take both from one release.")
    texts = rows.column(NARRATION)
    sentences = read_sentences(folder, files.sentences, names.origin)
    first = {id: row for row, id in reversed(list(enumerate(ids)))}
    stranger = next((id for id, _ in sentences if id not in first), None)
    if stranger is not None:
        raise UserError(
            f"{folder / files.sentences} has a sentence of {stranger}, which {rows.path} lacks: take both from one "
            "release."
        )
    described = [first[id] for id, _ in sentences]
    captions = [
        Caption(id, texts[row], source)
        for id, row in zip(unique_ids(f"{source}:{id}" for id, _ in sentences), described, strict=True)
    ]
    relevancy = _relevancy(folder, files, names, clips, described, options)
    positions = _positions(caption.text for caption in captions)
    own = []
    for row, (id, text) in enumerate(zip(unique_ids(ids), texts, strict=True)):
        if text not in positions:
            positions[text] = [len(captions)]
            captions.append(Caption(f"{source}:{id}", text, source))
        candidates = positions[text]
        if len(candidates) > 1 and relevancy is not None:
            own.append(max(candidates, key=lambda column: relevancy[row, column]))
        else:
            own.append(candidates[0])
    shifted = sum(texts[row] != text for row, (_, text) in zip(described, sentences, strict=True))
    notes = [f"{shifted} sentences of {files.sentences} are not the text of the clip they name, whose text is used"]
    return CaptionSource(captions, len(sentences), own, relevancy, notes if shifted else [])


def _relevancy(
    folder: Path, files: FileNames, names: FileNames, clips: ClipRows, described: list[int], options: OfficialFiles
) -> NDArray[np.float64] | None:
    if options.relevancy == "none" or names.relevancy is None:
        return None
    shape = (len(clips.rows), len(described))
    if shape[0] * shape[1] > MOST_CELLS:
        raise UserError(
            f"{clips.path}: the relevancy of {shape[0]} clips and {shape[1]} sentences takes "
            f"{shape[0] * shape[1] / 2**27:.0f} GB: set `relevancy: none` in the corpus config."
        )
    if options.relevancy == "built":
        classes = [clips.classes(name) for name in CLASSES[options.relevancy_type]]
        return built_relevancy(classes, [[of_clips[row] for row in described] for of_clips in classes])
    path = folder / (files.relevancy or "")
    if not path.is_file():
        path = folder / names.relevancy
    if not path.is_file():
        raise UserError(
            f"{path} is missing: get it from {names.origin}, or set `relevancy: built` in the corpus config."
        )
    return read_relevancy(path, shape)


def _positions(texts: Iterable[str]) -> dict[str, list[int]]:
    positions: dict[str, list[int]] = {}
    for position, text in enumerate(texts):
        positions.setdefault(text, []).append(position)
    return positions
