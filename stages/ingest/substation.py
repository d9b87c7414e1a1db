"""Sub Station Alpha (SSA, ASS): the lines `Dialogue:`, read by pysubs2 one at a time, so that one fault costs one."""

from __future__ import annotations

import re

import pysubs2

from pipeline.text.delimited import lines_of
from stages.ingest.cue_text import Payload

_FIELDS = ("layer", "start", "end", "style", "name", "marginl", "marginr", "marginv", "effect", "text")
_TIME = re.compile(r"\d{1,9}:\d{1,2}:\d{1,2}[.:]\d{1,3}")
_SECTION = re.compile(r"^\[(?:Script Info|V4\+? Styles|Events)\]", re.MULTILINE | re.IGNORECASE)


def is_substation(start: str) -> bool:
    """Whether a file that begins so is one of Sub Station Alpha."""
    return _SECTION.search(start) is not None


def read_substation(text: str) -> tuple[list[Payload], list[tuple[int, str]]]:
    """The cues of a file in its order, without comments and drawings; and (line, reason) of those with a fault."""
    cues: list[Payload] = []
    faults: list[tuple[int, str]] = []
    fields = list(_FIELDS)
    events = False
    for number, line in enumerate(lines_of(text), 1):
        line = line.strip()
        kind, _, rest = line.partition(":")
        if line.startswith("["):
            events = line.lower() == "[events]"
        elif events and kind == "Format":
            fields = [name.strip().lower() for name in rest.split(",")]
        elif events and kind == "Dialogue":
            try:
                cues += _cue(number, rest, fields)
            except ValueError as error:
                faults.append((number, str(error)))
        elif (
            events and line and kind not in ("Comment", "Picture", "Sound", "Movie", "Command") and line[0] not in ";!"
        ):
            faults.append((number, f"{line[:100]!r} is no event"))
    return cues, faults


def _cue(number: int, rest: str, fields: list[str]) -> list[Payload]:
    if not {"start", "end", "text"} <= set(fields) or fields[-1] != "text":
        raise ValueError("the line `Format:` above does not name Start, End and, at its end, Text")
    values = dict(zip(fields, (value.strip() for value in rest.split(",", len(fields) - 1)), strict=False))
    if len(values) < len(fields):
        raise ValueError(f"it has {len(values)} fields, not {len(fields)}")
    for name in ("start", "end"):
        if not _TIME.fullmatch(values[name]):
            raise ValueError(f"{values[name][:100]!r} is no time (h:mm:ss.cc)")
    line = ",".join(("0", values["start"], values["end"], "Default", "", "0", "0", "0", "", values["text"]))
    (event,) = pysubs2.SSAFile.from_string(f"[Events]\nDialogue: {line}\n", format_="ass")
    if event.is_drawing or not event.plaintext.strip():
        return []
    if event.end <= event.start:
        raise ValueError(f"the cue stops at {values['end']}, before or when it starts at {values['start']}")
    return [Payload(number, event.start / 1000, event.end / 1000, event.plaintext.split("\n"))]
