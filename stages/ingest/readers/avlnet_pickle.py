"""Reader `avlnet-pickle`: the clips of a pickle that AVLnet's authors publish; their features need no media."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cache.errors import UserError
from pipeline.avlnet_pickle import ORIGIN, ClipPickle, PickledClip
from pipeline.config import CorpusConfig, CorpusPlace
from stages.ingest.annotations import AnnotatedClip, Annotations, Caption, Origin
from stages.ingest.retrieval_corpus import counted

GIVEN, EVAL = "given", "eval"


def read(place: CorpusPlace, config: CorpusConfig) -> Annotations:
    """Reads `files.name`, the pickles of `files.subsets` and the list of videos.

    All captions of a clip are the source `given`; those that MSR-VTT is scored on are the source `eval`.

    Raises:
        UserError: a file is missing or damaged.
    """
    options, folder = config.files, place.annotations
    if folder.is_file():
        folder = folder.parent
    if not options.name:
        raise UserError("The corpus config says no `files: name:`, the pickle to read.")
    annotations = Annotations()
    contents: dict[str, str] = {}
    for clip in ClipPickle(folder / options.name):
        _add(clip, annotations)
        if options.subsets:
            contents[clip.id] = clip.content()
    for subset, name in options.subsets.items():
        _add_subset(annotations, subset, folder / name, contents)
    if options.videos:
        annotations.remarks += _compared(folder / options.videos, annotations)
    annotations.remarks += counted("clips", len(annotations.clips), options, folder / options.name)
    return annotations


def _add(clip: PickledClip, annotations: Annotations) -> None:
    annotations.clips.append(AnnotatedClip(clip.id, origin=Origin(clip.video, clip.start_s, clip.stop_s)))
    texts = [(GIVEN, number, text) for number, text in enumerate(clip.captions)]
    if clip.eval_caption is not None:
        texts.append((EVAL, 0, clip.eval_caption))
    for source, number, text in texts:
        id = f"{source}:{clip.id}" + (f":{number}" if number else "")
        annotations.captions.append(Caption(id, text, source))
        annotations.pairs.append((clip.id, id))


def _add_subset(annotations: Annotations, subset: str, path: Path, contents: dict[str, str]) -> None:
    """Finds the clips of a subset's file among all by name; by their features where two have one name."""
    if not path.exists():
        annotations.remarks.append(f"subset {subset} is left out: {path} is missing (get it from {ORIGIN})")
        return
    found, strange, differing = [], 0, 0
    named: dict[str, list[str]] = {}
    for id in contents:
        named.setdefault(_name(id), []).append(id)
    for clip in ClipPickle(path):
        candidates = named.get(_name(clip.id), [])
        content = clip.content()
        same = [id for id in candidates if contents[id] == content]
        if same or len(candidates) == 1:
            found.append((same or candidates)[0])
            differing += not same
        else:
            strange += 1
    annotations.subsets += [(subset, "clip", id) for id in dict.fromkeys(found)]
    for count, what in ((strange, "clips that the full file lacks"), (differing, "clips with other picture features")):
        if count:
            annotations.remarks.append(f"subset {subset}: {path} has {count} {what}")


def _name(id: str) -> str:
    head, _, count = id.rpartition("#")
    return head if head and count.isdigit() else id


def _compared(path: Path, annotations: Annotations) -> list[str]:
    """A remark if clips are of videos that the list of videos lacks."""
    try:
        names = _names(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return [f"the list of videos {path} is missing (get it from {ORIGIN})"]
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error}): fetch it again from {ORIGIN}.") from None
    videos = {clip.origin.video for clip in annotations.clips if clip.origin is not None}
    strange = sorted(videos - names)
    return [f"{len(strange)} videos are not in {path}, such as {strange[0]}"] if strange else []


def _names(document: Any) -> set[str]:
    """All keys and strings of a JSON document, whatever its nesting."""
    if isinstance(document, dict):
        return set(document).union(*map(_names, document.values()))
    if isinstance(document, list):
        return set().union(*map(_names, document))
    return {document} if isinstance(document, str) else set()
