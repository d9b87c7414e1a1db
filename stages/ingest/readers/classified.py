"""Readers `esc-50`, `urbansound8k` and `vggsound`: published corpora of clips with one class each."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cache.errors import UserError
from pipeline.config.classes import FOLD
from pipeline.config.corpus import CorpusConfig
from pipeline.config.params import CorpusPlace
from pipeline.formats.text import escaped, read_text
from pipeline.media.location import open_place
from stages.ingest.annotations import AnnotatedClip, Annotations, Span, count_notes
from stages.ingest.classes import add_classes, fault_of_class
from stages.ingest.media_files import MediaLayout

ESC_50_ORIGIN = "github.com/karolpiczak/ESC-50"
ESC_50_COLUMNS = ("filename", "fold", "target", "category", "esc10", "src_file", "take")
URBAN_ORIGIN = "urbansounddataset.weebly.com/urbansound8k.html"
URBAN_COLUMNS = ("slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class")
SALIENCE = {"1": "foreground", "2": "background"}
VGGSOUND_ORIGIN = "www.robots.ox.ac.uk/~vgg/data/vggsound/vggsound.csv"
VGGSOUND_COLUMNS = ("YouTube id", "start seconds", "label", "split")
SPLITS = ("train", "test")
ALL = "all"
YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}")
NUMBER = re.compile(r"[0-9]{1,6}")


@dataclass(frozen=True)
class LabelledClip:
    """A row of a corpus.

    Attributes:
        id: of the clip.
        name: of its medium, as `{video}` of the corpus config has it.
        label: its class.
        subsets: that it is in.
        order: number of the class, where the file has numbers.
    """

    id: str
    name: str
    label: str
    subsets: tuple[str, ...]
    order: int = 0


def read_esc_50(place: CorpusPlace, config: CorpusConfig) -> Annotations:
    """Reads `esc50.csv`: subsets are the folds and ESC-10.

    Raises:
        UserError: the file is missing, or another one.
    """
    annotations = Annotations()
    path = _official(place.annotations, ("meta/esc50.csv", "esc50.csv"), ESC_50_ORIGIN)
    clips = []
    for where, row in _rows(path, ESC_50_COLUMNS, ESC_50_ORIGIN, annotations):
        name, fold, target, category, esc10 = row[:5]
        if reason := _no_number(fold=fold, target=target) or _no_file(name) or fault_of_class(category):
            annotations.faults.append((escaped(name), str(path), f"{where}: {reason}"))
            continue
        subsets = (f"{FOLD}{int(fold)}", *(["esc-10"] if esc10.strip().lower() == "true" else []))
        clips.append(LabelledClip(name, name, category.strip(), subsets, int(target)))
    return _annotated(clips, path, place, config, annotations)


def read_urbansound8k(place: CorpusPlace, config: CorpusConfig) -> Annotations:
    """Reads `UrbanSound8K.csv`: subsets are the folds, and by salience `foreground` and `background`.

    Raises:
        UserError: the file is missing, or another one.
    """
    annotations = Annotations()
    names = ("metadata/UrbanSound8K.csv", "UrbanSound8K.csv")
    path = _official(place.annotations, names, URBAN_ORIGIN)
    clips = []
    for where, row in _rows(path, URBAN_COLUMNS, URBAN_ORIGIN, annotations):
        name, salience, fold, number, label = row[0], row[4].strip(), row[5], row[6], row[7]
        if reason := _no_number(fold=fold, classID=number) or _no_file(name) or fault_of_class(label):
            annotations.faults.append((escaped(name), str(path), f"{where}: {reason}"))
            continue
        subsets = (f"{FOLD}{int(fold)}", *([SALIENCE[salience]] if salience in SALIENCE else []))
        medium = f"fold{int(fold)}/{name}"
        clips.append(LabelledClip(name, medium, label.strip(), subsets, int(number)))
    return _annotated(clips, path, place, config, annotations)


def read_vggsound(place: CorpusPlace, config: CorpusConfig) -> Annotations:
    """Reads `vggsound.csv`, which has no header: the rows of `files.split`, or all of them, each split a subset.

    A clip is called like its file: the id of the video and the second where it starts, of six digits.

    Raises:
        UserError: the file is missing, or another one.
    """
    annotations = Annotations()
    path = _official(place.annotations, ("vggsound.csv",), VGGSOUND_ORIGIN)
    clips = []
    for where, (video, start, label, split) in _rows(
        path, VGGSOUND_COLUMNS, VGGSOUND_ORIGIN, annotations, header=False
    ):
        split = split.strip()
        reason = _no_number(start=start) or fault_of_class(label)
        if not YOUTUBE_ID.fullmatch(video):
            reason = f"{video[:20]!r} is no id of a YouTube video"
        elif split not in SPLITS:
            reason = f"the split is {split!r}, not train or test"
        if reason:
            annotations.faults.append((escaped(video), str(path), f"{where}: {reason}"))
        elif config.files.split in (split, ALL):
            clip = f"{video}_{int(start):06d}"
            clips.append(LabelledClip(clip, clip, label.strip(), (split,)))
    return _annotated(clips, path, place, config, annotations)


def _annotated(
    clips: Sequence[LabelledClip], path: Path, place: CorpusPlace, config: CorpusConfig, annotations: Annotations
) -> Annotations:
    """Clips, whole files all of them, with classes and subsets; media that are missing are said.

    Raises:
        UserError: a clip is named twice, or a file of templates cannot be used.
    """
    first: dict[str, LabelledClip] = {}
    for clip in clips:
        if first.setdefault(clip.id, clip) is not clip:
            annotations.faults.append((clip.id, str(path), f"the clip {clip.id} has a second row, which is left out"))
    media = open_place(place.media)
    layouts = [MediaLayout(media, kind, getattr(config.files, kind)) for kind in ("audio", "frames")]
    said: set[str] = set()  # a clip without a file lacks audio and frames
    for layout in layouts:
        missing = [clip.name for clip in first.values() if layout.whole(clip.name) is None]
        faults, notes = layout.report(missing, len(first))
        annotations.faults += [fault for fault in faults if fault[0] not in said]
        said.update(fault[0] for fault in faults)
        annotations.notes += notes
    for clip in first.values():
        audio, frames = ((Span(found),) if (found := layout.whole(clip.name)) else () for layout in layouts)
        annotations.clips.append(AnnotatedClip(clip.id, audio, audio if frames == audio else frames))
        annotations.subsets += [(subset, "clip", clip.id) for subset in clip.subsets]
    labels = sorted({(clip.order, clip.label) for clip in first.values()})
    in_order = {label: None for _, label in labels}
    add_classes(annotations, {clip.id: [clip.label] for clip in first.values()}, config.classes, list(in_order))
    for kind, count in (("clips", len(first)), ("classes", len(in_order))):
        annotations.notes += count_notes(kind, count, config.files, path)
    return annotations


def _official(annotations: Path, names: Sequence[str], origin: str) -> Path:
    """The annotation file: the given one, or the first of these names that the given folder has.

    Raises:
        UserError: it is not there.
    """
    if annotations.is_file():
        return annotations
    found = next((annotations / name for name in names if (annotations / name).is_file()), None)
    if found is None:
        raise UserError(f"{annotations} has no {' or '.join(names)}: get it from {origin}.")
    return found


def _rows(
    path: Path, columns: Sequence[str], origin: str, annotations: Annotations, header: bool = True
) -> Iterator[tuple[str, list[str]]]:
    """Rows of an official file, and where they stand; those with another number of cells are faults.

    Raises:
        UserError: the file cannot be read, or its header is another.
    """
    reader = csv.reader(io.StringIO(read_text(path, "annotation file").text, newline=""), strict=True)
    try:
        if header and [name.strip() for name in next(reader, [])] != list(columns):
            raise UserError(f"{path} does not begin with {','.join(columns)}: get the official file from {origin}.")
        for row in reader:
            where = f"line {reader.line_num}"
            if len(row) == len(columns):
                yield where, row
            elif row:
                reason = f"{where}: {len(row)} cells where there should be {len(columns)} ({', '.join(columns)})"
                annotations.faults.append((escaped(row[0]), str(path), reason))
    except csv.Error as error:
        raise UserError(f"{path} line {reader.line_num} cannot be read ({error}): get it from {origin}.") from None


def _no_number(**cells: str) -> str:
    """Why one of these cells is no number; empty if all are."""
    return next((f"{name} is {cell!r}, no number" for name, cell in cells.items() if not NUMBER.fullmatch(cell)), "")


def _no_file(name: str) -> str:
    """Why a cell is no name of a file; empty if it is one."""
    return "" if name and name == Path(name).name and name.isprintable() else f"{name[:40]!r} is no name of a file"
