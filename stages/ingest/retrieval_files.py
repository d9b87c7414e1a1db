"""Annotation files in the style of EPIC-KITCHENS-100 multi-instance retrieval: clips, sentences and their relevancy.

Columns count by position, as in the original code; only the two timestamps go by name.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cache.errors import UserError
from pipeline.formats.pickled_arrays import read_array
from pipeline.formats.text import fault_of_text, read_text
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
        """One column."""
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
            if any(len(one) > MOST_DIGITS for one in row):
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
        n_classes = 1 + max((max(one, default=0) for one in (*clip_sets, *sentence_sets)), default=0)
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
    numbers = {one: number for number, one in enumerate(dict.fromkeys(sets))}
    return list(numbers), np.array([numbers[one] for one in sets], np.intp)


def _indicators(sets: Sequence[frozenset[int]], n_classes: int) -> NDArray[np.float64]:
    result = np.zeros((len(sets), n_classes))
    for row, one in enumerate(sets):
        result[row, list(one)] = 1
    return result
