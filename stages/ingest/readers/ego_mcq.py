"""Reader `ego-mcq`: EgoMCQ, all of it or with the audio descriptions and subsets of A Sound Approach."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from cache.errors import UserError
from cache.keys import caption_key
from pipeline.config.corpus import CorpusConfig, OfficialFiles
from pipeline.config.params import CorpusPlace
from pipeline.formats.text import escaped, fault_of_text, read_text
from pipeline.media.location import MediaPlace, open_place
from stages.ingest.annotations import AnnotatedClip, Annotations, Caption, Question, Span, count_notes
from stages.ingest.media_files import MediaLayout, in_pieces, with_margins
from stages.ingest.retrieval_files import GPT, VISUAL

N_CHOICES = 5
LONGEST_S = 1e6
"""No video lasts eleven days; the pieces of a video are counted."""
TYPES = {1: "inter", 2: "intra"}


class Moment(NamedTuple):
    """A clip: a segment of a video, and the name made of these."""

    video: str
    start_s: float
    stop_s: float
    id: str


@dataclass(frozen=True)
class Entry:
    """A question.

    Attributes:
        key: its number in the file.
        text: of the query.
        choices: the clips to choose from.
        answer: position of the right one.
        type: `inter` or `intra`.
    """

    key: str
    text: str
    choices: tuple[Moment, ...]
    answer: int
    type: str

    def content(self) -> tuple[object, ...]:
        """All but the number, which is another in the files of subsets."""
        return self.text, self.choices, self.answer, self.type


def read_questions(path: Path, origin: str) -> tuple[list[Entry], list[tuple[str, str, str]]]:
    """Reads a question file; tags of verbs and nouns are ignored.

    Args:
        path: the json file.
        origin: where to get it.

    Returns:
        The questions in the order of their numbers, and (id, path, reason) of those that cannot be used.

    Raises:
        UserError: the file is missing or no question file.
    """
    data = _load(path, origin)
    entries, faults = [], []
    for number in range(len(data)):
        try:
            entries.append(_entry(str(number), data[str(number)]))
        except KeyError as error:
            faults.append((str(number), str(path), f"question {number} has no {error.args[0]!r}"))
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            faults.append((str(number), str(path), f"question {number}: {error}"))
    return entries, faults


def read_query_texts(path: Path, origin: str) -> dict[str, str]:
    """The query's text of each question, by its number.

    Raises:
        UserError: the file is missing or no question file.
    """
    try:
        texts = {key: str(item["query"]["clip_text"]) for key, item in _load(path, origin).items()}
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} has a question without `query` and `clip_text` ({error}): fetch it again.") from None
    if wrong := next((key for key, text in texts.items() if fault_of_text(text)), None):
        raise UserError(f"{path} question {escaped(wrong)}: {fault_of_text(texts[wrong])}, or fetch the file again.")
    return texts


def _entry(key: str, item: dict[str, Any]) -> Entry:
    choices = tuple(_moment(choice) for choice in item["choices"].values())
    if len(choices) != N_CHOICES:
        raise ValueError(f"{len(choices)} choices, not {N_CHOICES}")
    answer, type_ = int(item["answer"]), int(item["types"])
    if not 0 <= answer < N_CHOICES or type_ not in TYPES:
        raise ValueError(f"answer {answer} or type {type_} is out of range")
    text = str(item["query"]["clip_text"])
    if reason := fault_of_text(text):
        raise ValueError(reason)
    return Entry(key, text, choices, answer, TYPES[type_])


def _moment(choice: dict[str, Any]) -> Moment:
    video, start, stop = (choice[key] for key in ("video_uid", "clip_start", "clip_end"))
    start, stop = max(float(start), 0.0), max(float(stop), 0.0)
    if reason := fault_of_text(str(video)):
        raise ValueError(reason.replace("the text", "a video's name", 1))
    id = f"{video}@{start:.12g}-{stop:.12g}"
    if not start < stop < LONGEST_S:
        raise ValueError(f"the clip {id} does not stop after its start, or lasts too long")
    return Moment(str(video), start, stop, id)


def _load(path: Path, origin: str) -> dict[str, Any]:
    if not path.exists():
        raise UserError(f"{path} is missing: get it from {origin}.")
    text = read_text(path, "question file").text
    try:
        data = json.loads(text)
    except RecursionError:
        raise UserError(f"{path} is nested too deeply for questions: fetch it again.") from None
    except ValueError as error:
        raise UserError(f"{path} is no valid JSON ({error}): fetch it again.") from None
    if not isinstance(data, dict) or not data:
        raise UserError(f"{path} holds no questions by number: fetch it again.")
    return data


EGO4D_RATE = 30
"""Frames per second that EgoVLP assumes in every video."""

ORIGIN = "drive.google.com/drive/folders/1gWto7N5rh5nmbWl3JGYsH5wYFzmSBi6J"
ALL_QUESTIONS = "egomcq.json"
ORIGIN_OF_ALL = "github.com/showlab/EgoVLP, by `hearonce checkpoints fetch egomcq`"
"""Of EgoVLP's own file, which has neither descriptions nor subsets."""


def read(place: CorpusPlace, config: CorpusConfig) -> Annotations:
    """Reads the question file `files.name`, the `_gpt` one beside it, and those of the subsets.

    A clip or a text that many questions share is one row. A question has a row for each caption source, under the same
    id, which is its number in the file.

    Raises:
        UserError: a file is missing or damaged.
    """
    options, folder = config.files, place.annotations
    path = folder / options.name
    described = options.name != ALL_QUESTIONS
    entries, faults = read_questions(path, ORIGIN if described else ORIGIN_OF_ALL)
    annotations = Annotations(faults=faults)
    moments = {moment.id: moment for entry in entries for moment in entry.choices}
    annotations.clips = _clips(open_place(place.media), moments.values(), options, annotations)
    _add_source(annotations, VISUAL, entries, {entry.key: entry.text for entry in entries})
    gpt = _gpt_file(path)
    if gpt.exists():
        texts = read_query_texts(gpt, ORIGIN)
        lacking = sum(entry.key not in texts for entry in entries)
        if lacking:
            annotations.notes.append(f"{gpt} lacks {lacking} questions of {path.name}, left out of the source `gpt`")
        _add_source(annotations, GPT, [entry for entry in entries if entry.key in texts], texts)
    else:
        texts = {}
    if described and not gpt.exists():
        annotations.notes.append(f"no caption source `gpt`: {gpt} is missing (get it from {ORIGIN})")
    numbers: dict[tuple[object, ...], list[str]] = {}
    for entry in entries:
        numbers.setdefault(entry.content(), []).append(entry.key)
    for subset, name in options.subsets.items():
        _add_subset(annotations, subset, folder / name, numbers, texts)
    annotations.notes += count_notes("questions", len(entries), options, path)
    return annotations


def _gpt_file(path: Path) -> Path:
    return path.with_name(f"{path.stem}_gpt.json")


def _add_source(annotations: Annotations, source: str, entries: list[Entry], texts: dict[str, str]) -> None:
    captions: dict[str, Caption] = {}
    pairs: dict[tuple[str, str], None] = {}
    for entry in entries:
        text = texts[entry.key]
        id = f"{source}:{caption_key(text).hex()[:16]}"
        captions.setdefault(id, Caption(id, text, source))
        clip_ids = [moment.id for moment in entry.choices]
        pairs.setdefault((clip_ids[entry.answer], id))
        annotations.questions.append(Question(entry.key, id, clip_ids, entry.answer, entry.type))
    annotations.captions += captions.values()
    annotations.pairs += pairs


def _add_subset(
    annotations: Annotations,
    subset: str,
    path: Path,
    numbers: dict[tuple[object, ...], list[str]],
    texts: dict[str, str],
) -> None:
    """Finds a subset's questions among all by what they ask; the file numbers them anew."""
    if not path.exists():
        annotations.notes.append(f"subset {subset} is left out: {path} is missing (get it from {ORIGIN})")
        return
    entries, faults = read_questions(path, ORIGIN)
    annotations.faults += faults
    left = {content: iter(keys) for content, keys in numbers.items()}
    found = {entry.key: next(left.get(entry.content(), iter(())), None) for entry in entries}
    annotations.subsets += [(subset, "question", number) for number in found.values() if number is not None]
    gpt = _gpt_file(path)
    described = read_query_texts(gpt, ORIGIN) if gpt.exists() else {}
    reworded = sum(
        number is not None and described.get(key, texts.get(number)) != texts.get(number)
        for key, number in found.items()
    )
    unknown = sum(number is None for number in found.values())
    for count, what in ((unknown, "questions that the full file lacks"), (reworded, "other `gpt` texts")):
        if count:
            annotations.notes.append(
                f"subset {subset}: {path} has {count} {what}; to score it as it is, make a corpus config with "
                f"`name: {path.name}` (nothing is embedded twice)"
            )


def _clips(
    media: MediaPlace, moments: Iterable[Moment], options: OfficialFiles, annotations: Annotations
) -> list[AnnotatedClip]:
    layouts = {kind: MediaLayout(media, kind, getattr(options, kind)) for kind in ("audio", "frames")}
    missing: dict[str, dict[str, None]] = {kind: {} for kind in layouts}
    wanted: dict[str, None] = {}
    clips = []
    for moment in moments:
        wanted.setdefault(moment.video)
        spans = {}
        for kind, layout in layouts.items():
            spans[kind] = _spans(moment, layout, options, audio=kind == "audio")
            if not spans[kind]:
                missing[kind].setdefault(moment.video)
        clips.append(AnnotatedClip(moment.id, spans["audio"], spans["frames"]))
    for kind, layout in layouts.items():
        faults, notes = layout.report(list(missing[kind]), len(wanted))
        annotations.faults += faults
        annotations.notes += notes
    return clips


def _spans(moment: Moment, layout: MediaLayout, options: OfficialFiles, audio: bool) -> tuple[Span, ...]:
    """Where a clip lies: in the pieces of its video, or else in the whole video; empty if a file is missing."""
    margins = (options.left_sec, options.right_sec) if audio else (0.0, 0.0)
    pieces = in_pieces(moment.start_s, moment.stop_s, options.chunk_s, *margins)
    paths = [layout.chunk(moment.video, number) for number, _, _ in pieces]
    parts = [(path, start, length) for path, (_, start, length) in zip(paths, pieces, strict=True) if path is not None]
    if len(parts) < len(pieces):
        whole = layout.whole(moment.video)
        if whole is None:
            return ()
        parts = [(whole, *with_margins(moment.start_s, moment.stop_s, *margins))]
    if audio:
        return tuple(Span(path, start, duration_s=length) for path, start, length in parts)
    frames = int(moment.start_s * EGO4D_RATE), int(moment.stop_s * EGO4D_RATE)  # of the whole video, as EgoVLP counts
    return tuple(
        # Rounded, so that 618.4 s of the video is 18.4 s of its second piece and not 18.399...
        Span(path, round(start, 9), None if length is None else round(start + length, 9), None, *frames)
        for path, start, length in parts
    )
