"""A corpus in the style of EPIC-KITCHENS-100 multi-instance retrieval, from its annotation files to its tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from cache.errors import UserError
from pipeline.config.corpus import OfficialFiles
from pipeline.config.params import CorpusPlace
from pipeline.media.location import MediaPlace, open_place
from stages.ingest.annotations import AnnotatedClip, Annotations, Stretch
from stages.ingest.caption_source import GPT, VISUAL, CaptionSource, read_caption_source, unique_ids
from stages.ingest.media_files import MediaLayout
from stages.ingest.retrieval_files import (
    ID,
    PARTICIPANT,
    START_FRAME,
    STOP_FRAME,
    VIDEO,
    ClipRows,
    FileNames,
    read_clips,
)

Names = Callable[[str], FileNames]


def read_retrieval_corpus(place: CorpusPlace, options: OfficialFiles, names_of: Names) -> Annotations:
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
        annotations.remarks.append(
            f"no caption source `gpt`: {folder / names.gpt().clips} is missing (get it from {names.origin})"
        )
    frames, n_sentences = [], {}
    for name in sources:
        source = read_caption_source(name, folder, names, rows, options)
        annotations.captions += source.captions
        n_sentences[name] = source.n_sentences
        annotations.pairs += [(id, source.captions[own].caption_id) for id, own in zip(ids, source.own, strict=True)]
        annotations.remarks += source.remarks
        frames.append(source.relevancy_frame(ids))
        for subset, suffix in options.subsets.items():
            _add_subset(annotations, subset, names_of(suffix), folder, source, name, ids, options)
    annotations.relevancy = pl.concat(frames)
    annotations.subsets = list(dict.fromkeys(annotations.subsets))
    for kind, found in (("clips", len(ids)), ("captions", n_sentences[VISUAL])):
        annotations.remarks += counted(kind, found, options, folder / names.clips)
    return annotations


def counted(kind: str, found: int, options: OfficialFiles, path: Path) -> list[str]:
    """A remark if the files hold another number of clips, captions or questions than their authors published."""
    wanted = {str(key): value for key, value in options.published.items()}.get(kind, found)
    if found == wanted:
        return []
    return [f"{path} gives {found} {kind}, published are {wanted}: is this the official file?"]


def _clips(
    media: MediaPlace, rows: ClipRows, ids: list[str], options: OfficialFiles, annotations: Annotations
) -> list[AnnotatedClip]:
    layouts = {kind: MediaLayout(media, kind, getattr(options, kind)) for kind in ("sound", "picture")}
    videos = dict.fromkeys(zip(rows.column(VIDEO), rows.column(PARTICIPANT), strict=True))
    for layout in layouts.values():
        missing = [video for video, participant in videos if layout.whole(video, participant) is None]
        faults, remarks = layout.report(missing, len(videos))
        annotations.faults += faults
        annotations.remarks += remarks
    clips = []
    for id, row, (start, stop) in zip(ids, rows.rows, rows.times, strict=True):
        if stop <= start:
            annotations.faults.append((id, str(rows.path), f"the clip stops at {stop:g} s but starts at {start:g} s"))
            continue
        sound, picture = (layouts[kind].whole(row[VIDEO], row[PARTICIPANT]) for kind in ("sound", "picture"))
        first, duration = extended(start, stop, options.left_sec, options.right_sec)
        frames = int(row[START_FRAME]), int(row[STOP_FRAME])
        clips.append(
            AnnotatedClip(
                id,
                (Stretch(sound, first, duration_s=duration),) if sound else (),
                (Stretch(picture, start, stop, None, *frames),) if picture else (),
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
        annotations.remarks.append(
            f"subset {subset} has no {source} files: {folder / files.clips} is missing (get it from {names.origin})"
        )
        return
    rows = read_clips(folder, names.clips, names.origin)
    ids = unique_ids(rows.column(ID))
    part = read_caption_source(source, folder, names, rows, options)
    row_of = {id: row for row, id in enumerate(clip_ids)}
    strangers = [id for id in ids if id not in row_of]
    if strangers:
        raise UserError(f"{rows.path} has clip {strangers[0]}, which the full set lacks: take both from one release.")
    clips = np.array([row_of[id] for id in ids], np.intp)
    by_text = full.by_text()
    columns, lost = [], 0
    for position, caption in enumerate(part.captions):
        candidates = by_text.get(caption.text, [])
        if not candidates:
            lost += 1
            columns.append(-1)
        else:
            columns.append(min(candidates, key=lambda column: _difference(full, part, clips, column, position)))
    annotations.subsets += [(subset, "clip", id) for id in ids]
    annotations.subsets += [(subset, "caption", full.captions[column].caption_id) for column in columns if column >= 0]
    differing = _n_differing(full, part, clips, np.array(columns[: part.n_sentences], np.intp))
    faults = [f"{lost} of its captions are not in the full set"] if lost else []
    if len(set(columns)) < len(columns) - max(lost - 1, 0):
        faults.append("some of its captions are one caption in the full set")
    if differing:
        faults.append(f"{differing} of its relevancies differ from those of the full set, which are used")
    if faults:
        suffix = options.subsets[subset]
        annotations.remarks.append(
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


def extended(start_s: float, stop_s: float, left_s: float, right_s: float) -> tuple[float, float]:
    """A clip of a whole file and its margins: the right one always, the left one whole or not at all.

    Args:
        start_s: start of the clip.
        stop_s: its end.
        left_s: seconds before it; left away if the file has fewer.
        right_s: seconds after it; the caller cuts them at the end of the file.

    Returns:
        (start, duration) in seconds.
    """
    duration = stop_s - start_s + right_s
    return (start_s - left_s, duration + left_s) if start_s - left_s >= 0 else (start_s, duration)


def chunked(
    start_s: float, stop_s: float, chunk_s: float, left_s: float = 0.0, right_s: float = 0.0
) -> list[tuple[int, float, float | None]]:
    """A clip of a video that has been cut into pieces of equal length, and its margins.

    The margins are those of the original code, which compares times in a piece with the end and the start of the piece
    in the video: the right one is always added but in the first piece, where it must fit; the left one is added in the
    first piece only, and to the second piece as well if the clip goes on there.

    Args:
        start_s: start of the clip, in the whole video.
        stop_s: its end.
        chunk_s: length of a piece.
        left_s: seconds before the clip.
        right_s: seconds after it.

    Returns:
        (number of the piece, start in it, duration) in playing order; None lasts to the end of the piece.
    """
    first, last = int(start_s // chunk_s), int(stop_s // chunk_s)
    start = start_s - first * chunk_s
    duration = stop_s - (start_s if first == last else last * chunk_s)
    if (start if first == last else 0.0) + duration + right_s <= (last + 1) * chunk_s:
        duration += right_s
    if start - left_s >= first * chunk_s:
        start -= left_s
        duration += left_s
    if first == last:
        return [(first, start, duration)]
    between = [(number, 0.0, None) for number in range(first + 1, last)]
    return [(first, start, None), *between, *([(last, 0.0, duration)] if duration > 0 else [])]
