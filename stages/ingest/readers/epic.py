"""Readers `epic-mir` and `epic-sounds`: corpora in the style of EPIC-KITCHENS-100 multi-instance retrieval."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from cache.errors import UserError
from pipeline.config.corpus import CorpusConfig, OfficialFiles
from pipeline.config.params import CorpusPlace
from pipeline.media.location import MediaPlace, open_place
from stages.ingest.annotations import AnnotatedClip, Annotations, Span, count_notes
from stages.ingest.media_files import MediaLayout, with_margins
from stages.ingest.retrieval_files import (
    GPT,
    ID,
    PARTICIPANT,
    START_FRAME,
    STOP_FRAME,
    VIDEO,
    VISUAL,
    CaptionSource,
    ClipRows,
    FileNames,
    read_caption_source,
    read_clips,
    unique_ids,
)

MIR_ORIGIN = (
    "github.com/epic-kitchens/epic-kitchens-100-annotations (retrieval_annotations/) and, for relevancy/ and all files "
    "with `_gpt`, drive.google.com/drive/folders/187Iy8MSdKlaipV_yhbMwyYazeu711A1f"
)


def read_mir(place: CorpusPlace, config: CorpusConfig) -> Annotations:
    """Reads `EPIC_100_retrieval_{test,train}*`; there is no split `val`, which stands for `test`.

    Raises:
        UserError: a file is missing or damaged, or files do not belong together.
    """
    split = "train" if config.files.split == "train" else "test"

    def names_of(suffix: str) -> FileNames:
        stem = f"EPIC_100_retrieval_{split}{suffix}"
        return FileNames(
            f"{stem}.csv",
            f"EPIC_100_retrieval_{split}_sentence{suffix}.csv",
            f"relevancy/{config.files.relevancy_type}_relevancy_{stem}.pkl",
            MIR_ORIGIN,
        )

    return _read(place, config.files, names_of)


SOUNDS_ORIGIN = "drive.google.com/drive/folders/1OSYniORkyyhxPcClccZHkH73TS4WoenE"


def read_sounds(place: CorpusPlace, config: CorpusConfig) -> Annotations:
    """Reads `EPIC_Sounds_{val,test}_epicmirstyle*`.

    Raises:
        UserError: a file is missing or damaged, or files do not belong together.
    """
    style = f"EPIC_Sounds_{config.files.split}_epicmirstyle"

    def names_of(suffix: str) -> FileNames:
        stem = f"{style}_mainclasses{suffix}"
        return FileNames(
            f"{stem}.csv",
            f"{style}_sentence_mainclasses{suffix}.csv",
            f"relevancy/{config.files.relevancy_type}_relevancy_{stem}.pkl",
            SOUNDS_ORIGIN,
        )

    return _read(place, config.files, names_of)


def _read(place: CorpusPlace, options: OfficialFiles, names_of: Callable[[str], FileNames]) -> Annotations:
    """Reads clips, both caption sources, relevancy and subsets.

    Args:
        place: media folder and annotation folder.
        options: which files.
        names_of: the files' names for a suffix.

    Raises:
        UserError: a file is missing or damaged, or files do not belong together.
    """
    names, folder = names_of(options.suffix), place.annotations
    rows = read_clips(folder, names.clips, names.origin)
    ids = unique_ids(rows.column(ID))
    annotations = Annotations()
    annotations.clips = _clips(open_place(place.media), rows, ids, options, annotations)
    sources = [VISUAL]
    if (folder / names.gpt().clips).exists():
        sources.append(GPT)
    else:
        annotations.notes.append(
            f"no caption source `gpt`: {folder / names.gpt().clips} is missing (get it from {names.origin})"
        )
    frames, n_sentences = [], {}
    for name in sources:
        source = read_caption_source(name, folder, names, rows, options)
        annotations.captions += source.captions
        n_sentences[name] = source.n_sentences
        annotations.pairs += [(id, source.captions[own].caption_id) for id, own in zip(ids, source.own, strict=True)]
        annotations.notes += source.notes
        frames.append(source.relevancy_frame(ids))
        for subset, suffix in options.subsets.items():
            _add_subset(annotations, subset, names_of(suffix), folder, source, name, ids, options)
    annotations.relevancy = pl.concat(frames)
    annotations.subsets = list(dict.fromkeys(annotations.subsets))
    for kind, found in (("clips", len(ids)), ("captions", n_sentences[VISUAL])):
        annotations.notes += count_notes(kind, found, options, folder / names.clips)
    return annotations


def _clips(
    media: MediaPlace, rows: ClipRows, ids: list[str], options: OfficialFiles, annotations: Annotations
) -> list[AnnotatedClip]:
    layouts = {kind: MediaLayout(media, kind, getattr(options, kind)) for kind in ("audio", "frames")}
    videos = dict.fromkeys(zip(rows.column(VIDEO), rows.column(PARTICIPANT), strict=True))
    for layout in layouts.values():
        missing = [video for video, participant in videos if layout.whole(video, participant) is None]
        faults, notes = layout.report(missing, len(videos))
        annotations.faults += faults
        annotations.notes += notes
    clips = []
    for id, row, (start, stop) in zip(ids, rows.rows, rows.times, strict=True):
        if stop <= start:
            annotations.faults.append((id, str(rows.path), f"the clip stops at {stop:g} s but starts at {start:g} s"))
            continue
        audio, frames = (layout.whole(row[VIDEO], row[PARTICIPANT]) for layout in layouts.values())
        first, duration = with_margins(start, stop, options.left_sec, options.right_sec)
        numbers = int(row[START_FRAME]), int(row[STOP_FRAME])
        clips.append(
            AnnotatedClip(
                id,
                (Span(audio, first, duration_s=duration),) if audio else (),
                (Span(frames, start, stop, None, *numbers),) if frames else (),
            )
        )
    return clips


def _add_subset(
    annotations: Annotations,
    subset: str,
    names: FileNames,
    folder: Path,
    full: CaptionSource,
    source: str,
    clip_ids: list[str],
    options: OfficialFiles,
) -> None:
    """Adds the clips and captions of a subset's files, and says where these differ from the full ones."""
    files = names.gpt() if source == GPT else names
    if not (folder / files.clips).exists():
        annotations.notes.append(
            f"subset {subset} has no {source} files: {folder / files.clips} is missing (get it from {names.origin})"
        )
        return
    rows = read_clips(folder, names.clips, names.origin)
    ids = unique_ids(rows.column(ID))
    part = read_caption_source(source, folder, names, rows, options)
    row_of = {id: row for row, id in enumerate(clip_ids)}
    unknown = [id for id in ids if id not in row_of]
    if unknown:
        raise UserError(f"{rows.path} has clip {unknown[0]}, which the full set lacks: take both from one release.")
    clips = np.array([row_of[id] for id in ids], np.intp)
    by_text = full.by_text()
    columns, n_lost = [], 0
    for position, caption in enumerate(part.captions):
        candidates = by_text.get(caption.text, [])
        if not candidates:
            n_lost += 1
            columns.append(-1)
        else:
            columns.append(min(candidates, key=lambda column: _difference(full, part, clips, column, position)))
    annotations.subsets += [(subset, "clip", id) for id in ids]
    annotations.subsets += [(subset, "caption", full.captions[column].caption_id) for column in columns if column >= 0]
    differing = _n_differing(full, part, clips, np.array(columns[: part.n_sentences], np.intp))
    faults = [f"{n_lost} of its captions are not in the full set"] if n_lost else []
    if len(set(columns)) < len(columns) - max(n_lost - 1, 0):
        faults.append("some of its captions are one caption in the full set")
    if differing:
        faults.append(f"{differing} of its relevancies differ from those of the full set, which are used")
    if faults:
        suffix = options.subsets[subset]
        annotations.notes.append(
            f"subset {subset} ({source}): {', '.join(faults)}; to score its files as they are, make a corpus config "
            f"with `suffix: {suffix}` (nothing is embedded twice)"
        )


def _difference(full: CaptionSource, part: CaptionSource, clips: np.ndarray, column: int, position: int) -> float:
    matrices = full.relevancy, part.relevancy
    if matrices[0] is None or matrices[1] is None or max(column - full.n_sentences, position - part.n_sentences) >= 0:
        return 0.0
    return float(np.abs(matrices[0][clips, column] - matrices[1][:, position]).sum())


def _n_differing(full: CaptionSource, part: CaptionSource, clips: np.ndarray, columns: np.ndarray) -> int:
    if full.relevancy is None or part.relevancy is None:
        return 0
    known = np.flatnonzero((columns >= 0) & (columns < full.n_sentences))
    return int((full.relevancy[clips[:, None], columns[known]] != part.relevancy[:, known]).sum())
