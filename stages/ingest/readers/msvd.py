"""Reader `msvd`: the Microsoft Research Video Description Corpus, a line for each caption."""

from __future__ import annotations

import re
from pathlib import Path

from cache.errors import UserError
from pipeline.config.corpus import CorpusConfig
from pipeline.config.params import CorpusPlace
from pipeline.formats.delimited import lines_of
from pipeline.formats.text import escaped, read_text
from stages.ingest.annotations import Annotations
from stages.ingest.captioned import GIVEN, CaptionedClips, Entry
from stages.ingest.readers.clip_lists import read_clip_list

CAPTIONS = "AllVideoDescriptions.txt"
ORIGIN = "cs.utexas.edu/users/ml/clamp/videoDescription, lists of the splits from CLIP4Clip's msvd_data.zip"
CLIP = re.compile(r".{11}_\d{1,6}_\d{1,6}")
"""ID_START_STOP: the name of the clip's file, and of the video it was cut out of."""


def read(place: CorpusPlace, config: CorpusConfig) -> Annotations:
    """Reads `AllVideoDescriptions.txt` and the lists of `files.subsets`.

    Raises:
        UserError: the captions are missing or no captions of MSVD, or a list names other clips.
    """
    options, clips = config.files, CaptionedClips()
    path = place.annotations / (options.name or CAPTIONS)
    if not path.exists():
        raise UserError(f"{path} is missing: get MSVD from {ORIGIN}.")
    _add_captions(path, clips)
    if not clips.entries:
        raise UserError(f"{path} has no line `ID_START_STOP caption`: get MSVD from {ORIGIN}.")
    for subset, name in options.subsets.items():
        listed = place.annotations / name
        if listed.exists():
            clips.add_listed(subset, (clip for clip, _ in read_clip_list(listed)), listed)
        else:
            clips.notes.append(f"subset {subset} is left out: {listed} is missing (get it from {ORIGIN})")
    return clips.annotations(place, config, ("clip",), place.annotations)


def _add_captions(path: Path, clips: CaptionedClips) -> None:
    """Adds the captions; the file begins with comments (`#`)."""
    for number, line in enumerate(lines_of(read_text(path, "caption file").text), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        clip, _, text = line.partition(" ")
        where = f"{path.name} line {number}"
        if CLIP.fullmatch(clip) is None:
            reason = f"{where}: {escaped(clip)[:60]!r} is not ID_START_STOP of a clip"
            clips.faults.append((escaped(clip)[:100], str(path), reason))
            continue
        clips.add(Entry(clip, {"clip": clip}, [(GIVEN, text)], [], where), path)
