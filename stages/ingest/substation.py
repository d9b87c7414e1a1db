r"""Sub Station Alpha (SSA, ASS): the lines `Dialogue:`, each for itself, so that a fault costs one.

pysubs2 1.8 was tried: one time that is none stops the whole file, columns count by position whatever `Format:` says,
and 80,000 opening braces cost it 9 s.
"""

from __future__ import annotations

import re

from pipeline.text.delimited import lines_of
from stages.ingest.cue_text import Payload, literal

_FIELDS = ("layer", "start", "end", "style", "name", "marginl", "marginr", "marginv", "effect", "text")
_TIME = re.compile(r"(\d{1,9}):(\d{1,2}):(\d{1,2})[.:](\d{1,3})")
_SECTION = re.compile(r"^\[(?:Script Info|V4\+? Styles|Events)\]", re.MULTILINE | re.IGNORECASE)
_OVERRIDES = re.compile(r"\{([^{}]*)\}")
_DRAWING = re.compile(r"\\p(\d)")
_OTHERS = ("Comment", "Picture", "Sound", "Movie", "Command")


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
        if line.startswith("[") and line.endswith("]"):
            events = line.lower() == "[events]"
        elif events and kind == "Format":
            fields = [name.strip().lower() for name in rest.split(",")]
        elif events and kind == "Dialogue":
            try:
                cues += _cue(number, rest, fields)
            except ValueError as error:
                faults.append((number, str(error)))
        elif events and line and kind not in _OTHERS and line[0] not in ";!":
            faults.append((number, f"{line[:100]!r} is no event"))
    return cues, faults


def _cue(number: int, rest: str, fields: list[str]) -> list[Payload]:
    if not {"start", "end", "text"} <= set(fields) or fields[-1] != "text":
        raise ValueError("the line `Format:` above does not name Start, End and, at its end, Text")
    values = dict(zip(fields, (value.strip() for value in rest.split(",", len(fields) - 1)), strict=False))
    if len(values) < len(fields):
        raise ValueError(f"it has {len(values)} fields, not {len(fields)}")
    words = _words(values["text"])
    if not words.strip():
        return []
    start, stop = _seconds(values["start"]), _seconds(values["end"])
    if stop <= start:
        raise ValueError(f"the cue stops at {stop:g} s, before or when it starts at {start:g} s")
    return [Payload(number, start, stop, [literal(line) for line in words.split("\n")])]


def _words(text: str) -> str:
    """The text without `{...}`, and without what is drawn between `{\\p1}` and `{\\p0}`."""
    parts, drawing = [], False
    for position, part in enumerate(_OVERRIDES.split(text)):
        if position % 2:
            for found in _DRAWING.finditer(part):
                drawing = found[1] != "0"
        elif not drawing:
            parts.append(part)
    return "".join(parts).replace("\\N", "\n").replace("\\n", "\n").replace("\\h", " ")


def _seconds(text: str) -> float:
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:40]!r} is no time (h:mm:ss.cc)")
    return int(match[1]) * 3600 + int(match[2]) * 60 + float(f"{match[3]}.{match[4]}")
