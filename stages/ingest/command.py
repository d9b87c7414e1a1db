"""`hearonce ingest CORPUS`: media and annotation files -> the canonical tables."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from cache import tables as schemas
from cache.digests import DigestMemory
from cache.errors import UserError
from cache.location import Store
from pipeline.config import layout
from pipeline.config.corpus import CorpusConfig, load_corpus
from pipeline.config.params import CorpusPlace, corpus_place
from pipeline.config.subsets import kinds_note
from pipeline.console.app import KeepGoing, Strict, finish
from pipeline.console.text import counted, did_you_mean
from pipeline.media.audio_store import AudioStore
from pipeline.media.length import JOINED
from pipeline.media.location import open_place
from pipeline.monitor.log import logged
from pipeline.monitor.problems import Problems, problem_of
from pipeline.monitor.progress import progress
from pipeline.monitor.summary import Summary
from pipeline.monitor.threads import each_in_threads
from stages.ingest.annotations import Annotations
from stages.ingest.media_files import MediaOpener
from stages.ingest.readers import (
    avlnet_pickle,
    caption_csv,
    caption_json,
    classified,
    ego_mcq,
    epic,
    folder,
    huggingface,
    msvd,
    webdataset,
)
from stages.ingest.shots import ShotFinder
from stages.ingest.tables import Medium, build

TABLES = {
    "media": schemas.MEDIA,
    "clips": schemas.CLIPS,
    "spans": schemas.SPANS,
    "captions": schemas.CAPTIONS,
    "pairs": schemas.PAIRS,
    "relevancy": schemas.RELEVANCY,
    "questions": schemas.QUESTIONS,
    "subsets": schemas.SUBSETS,
}
SHOTS = "shots"
"""Note of the clips table: by what shots were found."""
FETCHING = 8
"""Remote media that are fetched at the same time, or more where there are more processors."""

READERS: Mapping[str, Callable[[CorpusPlace, CorpusConfig], Annotations]] = {
    "folder": folder.read,
    "webdataset": webdataset.read,
    "huggingface": huggingface.read,
    "epic-mir": epic.read_mir,
    "epic-sounds": epic.read_sounds,
    "ego-mcq": ego_mcq.read,
    "avlnet-pickle": avlnet_pickle.read,
    "esc-50": classified.read_esc_50,
    "urbansound8k": classified.read_urbansound8k,
    "vggsound": classified.read_vggsound,
    "clotho": caption_csv.read_clotho,
    "audiocaps": caption_csv.read_audiocaps,
    "musiccaps": caption_csv.read_musiccaps,
    "msrvtt-videos": caption_json.read_msrvtt,
    "youcook2-videos": caption_json.read_youcook2,
    "vatex": caption_json.read_vatex,
    "activitynet-captions": caption_json.read_activitynet,
    "msvd": msvd.read,
}
"""By the name that a corpus config gives under `reader`."""


@logged
def ingest(
    corpus: Annotated[str, typer.Argument(help="A corpus of params.yaml.")],
    strict: Strict = False,
    keep_going: KeepGoing = False,
) -> None:
    """Read a corpus's media and annotation files into tables."""
    place, config = corpus_place(corpus), load_corpus(corpus)
    summary = Summary(f"ingest {corpus}", unit="media")
    problems = Problems("ingest", strict)
    with summary.timed("annotations"):
        annotations = _read(place, config)
    for id, path, reason in annotations.faults:
        problems.add(id, path, reason)
    opener = _opener(annotations, place, config)
    media, shots = _open_media(annotations, opener, problems, summary), opener.shots
    tables = build(annotations, media, config, problems)
    with summary.timed("write"):
        notes_of = {"media": kinds_note({medium.digest: medium.info.kind for medium in media.values()})}
        if shots is not None:
            notes_of["clips"] = {SHOTS: shots.method}
        for name, schema in TABLES.items():
            schemas.write_table(getattr(tables, name), schema, layout.table(corpus, name), notes_of.get(name, {}))
        problems.write(layout.problems(corpus, "ingest"))
    summary.failed = len(problems)
    counts = f"{len(tables.clips)} clips, {len(tables.captions)} captions"
    for note in (counts, *annotations.notes, *_joined_note(media), *_shots_notes(media, shots)):
        summary.add_note(note)
    if tables.clips.is_empty():
        why = "".join(f" {note}." for note in annotations.notes)
        raise UserError(
            f"Corpus {corpus!r} has no usable clip ({len(problems)} problems; see `hearonce problems`).{why}"
        )
    finish(summary.line(), len(problems), keep_going)


def _read(place: CorpusPlace, config: CorpusConfig) -> Annotations:
    if config.reader not in READERS:
        raise UserError(f"No corpus reader {config.reader!r}: {did_you_mean(config.reader, READERS)}")
    return READERS[config.reader](place, config)


def _joined_note(media: Mapping[Path, Medium]) -> list[str]:
    """A note on how many media are several recordings one after another, all of which are read."""
    count = sum(JOINED in medium.info.kind.split("+") for medium in media.values())
    return [f"{counted(count, 'medium', 'media')} of several recordings joined one after another"] if count else []


def _shots_notes(media: Mapping[Path, Medium], shots: ShotFinder | None) -> list[str]:
    """How shots were found, and how many media have no frames and so are cut into windows alone."""
    if shots is None:
        return []
    count = counted(sum(len(one.boundaries_s) for one in media.values()), "shot boundary", "shot boundaries")
    notes = [f"{count} by {shots.method}"]
    if without := sum(one.info.video is None for one in media.values()):
        notes.append(f"{counted(without, 'medium', 'media')} without frames cut into windows")
    return notes


def _opener(annotations: Annotations, place: CorpusPlace, config: CorpusConfig) -> MediaOpener:
    store = Store.default()
    memory = DigestMemory(store.digests)
    return MediaOpener(
        open_place(place.media),
        memory,
        AudioStore(store, config.audio),
        annotations.media_with_audio(),
        config.limits,
        ShotFinder(config.shots, memory, config.limits.max_pixels) if config.clips_from == "shots" else None,
    )


def _open_media(
    annotations: Annotations, opener: MediaOpener, problems: Problems, summary: Summary
) -> dict[Path, Medium]:
    """Digests and probes each medium once, in parallel."""
    paths, media = annotations.media(), opener.location
    summary.wanted = len(paths)
    workers = max(os.cpu_count() or 1, 1 if media.folder else FETCHING)
    opened: dict[Path, Medium] = {}
    rows: dict[Path, str] = {}  # of the annotations, in which a medium is named

    def open_one(path: Path) -> Medium | str:
        try:
            with summary.timed("read"):
                known = annotations.opened.get(path)
                return opener.open(path) if known is None else opener.complete(path, known)
        except Exception as error:  # a bad medium must not stop the run
            return problem_of(error)

    with progress(summary.label, len(paths), "media") as advance, each_in_threads(open_one, paths, workers) as results:
        for path, medium in zip(paths, results, strict=True):
            if isinstance(medium, str):
                if not media.has(path):
                    rows = rows or {segment.media: segment.where for segment in reversed(annotations.segments)}
                    medium = f"{rows[path]}: {medium}" if rows.get(path) else medium
                problems.add(path.as_posix(), path, medium)
            else:
                opened[path] = medium
            advance()
    opener.memory.close()
    summary.computed = len(opened)
    return opened
