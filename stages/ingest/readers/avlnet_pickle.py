"""Reader `avlnet-pickle`: the clips of a pickle that AVLnet's authors publish; their features need no media."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cache.errors import UserError
from pipeline.config.corpus import CorpusConfig
from pipeline.config.params import CorpusPlace
from pipeline.formats.avlnet_pickles import ORIGIN, ClipPickles, PickledClip, published_files
from pipeline.formats.text import read_text
from stages.ingest.annotations import AnnotatedClip, Annotations, Caption, Origin

GIVEN, EVAL = "given", "eval"


def read(place: CorpusPlace, config: CorpusConfig) -> Annotations:
    """Reads the pickles of `files.subsets`, each a subset of the corpus, and the list of videos.

    All captions of a clip are the source `given`, equal ones as often as the file has them: training draws one at
    random. The one that MSR-VTT is scored on is the source `eval`, and `given` too if the clip has no other.

    Raises:
        UserError: all files are missing, or one is damaged.
    """
    files, notes = published_files(config, place.annotations)
    annotations = Annotations(notes=notes)

    def fault(where: str, reason: str) -> None:
        annotations.faults.append((where, where, reason))

    for subset, clip, new in ClipPickles(files, config.files.layout, fault):
        annotations.subsets.append((subset, "clip", clip.id))
        if new:
            _add(clip, annotations)
    if annotations.faults and not annotations.clips:
        raise UserError(annotations.faults[0][2])
    if config.files.videos:
        annotations.notes += _compared(place.annotations / config.files.videos, annotations)
    return annotations


def _add(clip: PickledClip, annotations: Annotations) -> None:
    annotations.clips.append(AnnotatedClip(clip.id, origin=Origin(clip.video, clip.start_s, clip.stop_s)))
    scored = () if clip.eval_caption is None else (clip.eval_caption,)
    for source, texts in ((GIVEN, clip.captions or scored), (EVAL, scored)):
        for number, text in enumerate(texts):
            id = f"{source}:{clip.id}" + (f":{number}" if number else "")
            annotations.captions.append(Caption(id, text, source))
            annotations.pairs.append((clip.id, id))


def _compared(path: Path, annotations: Annotations) -> list[str]:
    """A note if clips are of videos that the list of videos lacks."""
    if not path.exists():
        return [f"the list of videos {path} is missing (get it from {ORIGIN})"]
    text = read_text(path, "list of videos").text
    try:
        names = _names(json.loads(text))
    except (RecursionError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error}): fetch it again from {ORIGIN}.") from None
    videos = {clip.origin.video for clip in annotations.clips if clip.origin is not None}
    unknown = sorted(videos - names)
    return [f"{len(unknown)} videos are not in {path}, such as {unknown[0]}"] if unknown else []


def _names(document: Any) -> set[str]:
    """All keys and strings of a JSON document, whatever its nesting."""
    if isinstance(document, dict):
        return set(document).union(*map(_names, document.values()))
    if isinstance(document, list):
        return set().union(*map(_names, document))
    return {document} if isinstance(document, str) else set()
