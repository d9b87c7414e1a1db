"""Readers `msrvtt-videos`, `youcook2-videos`, `vatex` and `activitynet-captions`: captions of videos in JSON files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cache.errors import UserError
from pipeline.config.corpus import CorpusConfig, OfficialFiles
from pipeline.config.params import CorpusPlace
from pipeline.formats.text import escaped, fault_of_text, read_text
from stages.ingest.annotations import Annotations
from stages.ingest.captioned import GIVEN, CaptionedClips, Entry
from stages.ingest.clip_media import CUT_FIELDS
from stages.ingest.readers.clip_lists import read_clip_list

CHINESE = "chinese"
EVAL = "eval"
"""The one caption of a clip that MSR-VTT's split 1k-A is scored on."""
LONGEST_S = 1e6


@dataclass(frozen=True)
class Layout:
    """How a corpus writes its captions.

    Attributes:
        name: of the corpus, for messages.
        origin: where its files are had.
        files: (subset, name) of the JSON files that are read, from the options and the annotation folder; the subset
            is empty where a file has several.
        items: (label, item) of a document; an item whose label has occurred is a fault.
        entries: what an item says, from its label, the item, the subset of its file, file and item for messages, and
            the options. Raises KeyError, TypeError or ValueError if it says it otherwise.
        fields: placeholders that `files.media` may have.
    """

    name: str
    origin: str
    files: Callable[[OfficialFiles, Path], list[tuple[str, str]]]
    items: Callable[[Any], Iterable[tuple[str, Any]]]
    entries: Callable[[str, Any, str, str, OfficialFiles], Iterator[Entry]]
    fields: tuple[str, ...]


def _segment(start: Any, stop: Any) -> tuple[float, float]:
    """Seconds of a part of a video."""
    start_s, stop_s = max(float(start), 0.0), float(stop)
    if not start_s < stop_s < LONGEST_S:
        raise ValueError(f"the segment {start_s:g} to {stop_s:g} s does not stop after its start, or lasts too long")
    return start_s, stop_s


def _segment_id(video: str, segment: tuple[float, float]) -> str:
    return f"{video}@{segment[0]:.12g}-{segment[1]:.12g}"


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{what} is {str(value)[:60]!r}, no text")
    return value


# --- MSR-VTT: {"videos": [{"video_id", "split"}], "sentences": [{"video_id", "caption"}]} ---

WHOLE = "MSRVTT_data.json"
PARTS = ("train_val_videodatainfo.json", "test_videodatainfo.json")


def _msrvtt_files(options: OfficialFiles, folder: Path) -> list[tuple[str, str]]:
    """The file that is named, else the joint one of later releases, else those of the challenge."""
    if options.name:
        return [("", options.name)]
    return [("", WHOLE)] if (folder / WHOLE).exists() else [("", name) for name in PARTS]


def _msrvtt_items(document: Any) -> Iterator[tuple[str, Any]]:
    """The videos, and the sentences with the split of their video."""
    splits: dict[str, Any] = {}
    for number, video in enumerate(document["videos"]):
        if isinstance(video, dict) and isinstance(video.get("video_id"), str):
            splits[video["video_id"]] = video.get("split")
            number = video["video_id"]
        yield f"video {number}", video
    for number, sentence in enumerate(document["sentences"]):
        if isinstance(sentence, dict) and sentence.get("video_id") in splits:
            sentence = sentence | {"split": splits[sentence["video_id"]]}
        yield f"sentence {number}", sentence


def _msrvtt(label: str, item: Any, subset: str, where: str, options: OfficialFiles) -> Iterator[Entry]:
    video = _text(item["video_id"], "video_id")
    if "split" not in item:
        raise ValueError(f"video_id {escaped(video)[:60]!r} is not among its videos with a split")
    captions = [(GIVEN, _text(item["caption"], "caption"))] if label.startswith("sentence") else []
    yield Entry(video, {"video": video}, captions, [_text(item["split"], "split")], where)


# --- YouCook2: {"database": {id: {"subset", "recipe_type", "annotations": [{"segment", "id", "sentence"}]}}} ---


def _youcook2(label: str, item: Any, subset: str, where: str, options: OfficialFiles) -> Iterator[Entry]:
    split = _text(item["subset"], "subset")
    names = {"video": label, "subset": split, "recipe": str(item.get("recipe_type", ""))}
    for annotation in item["annotations"]:
        segment = _segment(*annotation["segment"])
        sentence = _text(annotation["sentence"], "sentence")
        yield Entry(_segment_id(label, segment), names, [(GIVEN, sentence)], [split], where, segment=segment)


# --- VATEX: [{"videoID": "ID_000010_000020", "enCap": [...], "chCap": [...]}] ---

VATEX_ID = re.compile(r"(.{11})_(\d{6})_(\d{6})")


def _vatex_items(document: Any) -> Iterator[tuple[str, Any]]:
    for number, item in enumerate(document):
        id = item.get("videoID") if isinstance(item, dict) else None
        yield id if isinstance(id, str) else f"item {number}", item


def _vatex(label: str, item: Any, subset: str, where: str, options: OfficialFiles) -> Iterator[Entry]:
    clip = _text(item["videoID"], "videoID")
    parts = VATEX_ID.fullmatch(clip)
    if parts is None:
        raise ValueError(f"videoID {escaped(clip)[:60]!r} is not ID_START_STOP with six digits each")
    captions = [
        (source, _text(text, key))
        for source, key in ((GIVEN, "enCap"), (CHINESE, "chCap"))
        for text in (item["enCap"] if key == "enCap" else item.get(key, []))
    ]
    names = {"video": parts[1], "subset": subset}
    yield Entry(clip, names, captions, [subset], where, cut=_segment(parts[2], parts[3]))


# --- ActivityNet Captions: {"v_ID": {"duration", "timestamps": [[start, stop]], "sentences": [...]}} ---


def _activitynet(label: str, item: Any, subset: str, where: str, options: OfficialFiles) -> Iterator[Entry]:
    names = {"video": label, "id": label.removeprefix("v_"), "subset": subset}
    sentences = [_text(text, "sentence").strip() for text in item["sentences"]]
    times = item["timestamps"]
    if len(times) != len(sentences):
        raise ValueError(f"{len(sentences)} sentences have {len(times)} timestamps")
    if options.captions_of == "videos":
        yield Entry(label, names, [(GIVEN, " ".join(sentences))], [subset], where)
        return
    for time, sentence in zip(times, sentences, strict=True):
        segment = _segment(*time)
        yield Entry(_segment_id(label, segment), names, [(GIVEN, sentence)], [subset], where, segment=segment)


def _by_subset(options: OfficialFiles, folder: Path) -> list[tuple[str, str]]:
    return [(subset, name) for subset, name in options.subsets.items() if name.endswith(".json")]


MSRVTT = Layout(
    "MSR-VTT",
    "the MSR-VTT challenge, or CLIP4Clip's msrvtt_data.zip (github.com/ArrowLuo/CLIP4Clip/releases)",
    _msrvtt_files,
    _msrvtt_items,
    _msrvtt,
    ("video",),
)
YOUCOOK2 = Layout(
    "YouCook2",
    "youcook2.eecs.umich.edu",
    lambda options, folder: [("", options.name or "youcookii_annotations_trainval.json")],
    lambda document: document["database"].items(),
    _youcook2,
    ("video", "subset", "recipe"),
)
VATEX = Layout(
    "VATEX",
    "eric-xw.github.io/vatex-website",
    _by_subset,
    _vatex_items,
    _vatex,
    ("video", "subset", *CUT_FIELDS),
)
ACTIVITYNET = Layout(
    "ActivityNet Captions",
    "cs.stanford.edu/people/ranjaykrishna/densevid",
    _by_subset,
    lambda document: document.items(),
    _activitynet,
    ("video", "id", "subset"),
)


def _read(layout: Layout, place: CorpusPlace, config: CorpusConfig) -> Annotations:
    """Reads the JSON files, and the lists of `files.subsets` (`.csv`, `.txt`) that select clips of them.

    Raises:
        UserError: all files are missing, or one is not of this corpus.
    """
    options, clips = config.files, CaptionedClips()
    files = layout.files(options, place.annotations)
    if not files:
        raise UserError(f"files.subsets of the corpus config names no caption file of {layout.name}.")
    missing = []
    for subset, name in files:
        path = place.annotations / name
        if path.exists():
            _add_document(layout, path, subset, options, clips)
        else:
            missing.append(path)
    if len(missing) == len(files):
        paths = " and ".join(str(path) for path in missing)
        raise UserError(
            f"{paths} {'is' if len(files) == 1 else 'are'} missing: get {layout.name} from {layout.origin}."
        )
    clips.notes += [f"{path} is missing, and its clips are left out (get it from {layout.origin})" for path in missing]
    for subset, name in options.subsets.items():
        path = place.annotations / name
        if (subset, name) in files:
            continue
        if not path.exists():
            clips.notes.append(f"subset {subset} is left out: {path} is missing (get it from {layout.origin})")
            continue
        listed = read_clip_list(path)
        clips.add_listed(subset, (clip for clip, _ in listed), path)
        for clip, text in listed:
            if text is not None and clip in clips.entries:
                clips.captions[clip].append((EVAL, text))
    return clips.annotations(place, config, layout.fields, place.annotations)


def _add_document(layout: Layout, path: Path, subset: str, options: OfficialFiles, clips: CaptionedClips) -> None:
    """Adds the clips of a file; an item that cannot be used is a fault."""
    before, labels = set(clips.entries), set[str]()
    try:
        items = list(layout.items(_document(path, layout)))
    except (KeyError, TypeError, AttributeError) as error:
        lacks = f"has no {error.args[0]!r}" if isinstance(error, KeyError) else "is built otherwise"
        raise UserError(f"{path} is no file of {layout.name} ({lacks}): take it from {layout.origin}.") from None
    for label, item in items:
        where = f"{path.name} {escaped(label)[:100]}"
        try:
            if reason := fault_of_text(label):
                raise ValueError(reason)
            if label in labels:
                raise ValueError("it stands in the file already")
            labels.add(label)
            for entry in layout.entries(label, item, subset, where, options):
                if reason := fault_of_text(entry.clip):
                    raise ValueError(reason)
                if entry.clip in before:
                    raise ValueError(f"{clips.entries[entry.clip].where} has the clip already")
                clips.add(entry, path)
        except KeyError as error:
            clips.faults.append((escaped(label)[:100], str(path), f"{where}: it has no {error.args[0]!r}"))
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            clips.faults.append((escaped(label)[:100], str(path), f"{where}: {error}"))


def _document(path: Path, layout: Layout) -> Any:
    """The content of a JSON file."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in found if names.count(name) > 1)
            raise UserError(f"{path} has {escaped(twice)[:60]!r} twice: take it from {layout.origin} again.")
        return found

    try:
        return json.loads(read_text(path, "caption file").text, object_pairs_hook=unique)
    except RecursionError:
        raise UserError(f"{path} is nested too deeply for captions: get it from {layout.origin} again.") from None
    except ValueError as error:
        raise UserError(f"{path} is no valid JSON ({error}): get it from {layout.origin} again.") from None


read_msrvtt = partial(_read, MSRVTT)
read_youcook2 = partial(_read, YOUCOOK2)
read_vatex = partial(_read, VATEX)
read_activitynet = partial(_read, ACTIVITYNET)
