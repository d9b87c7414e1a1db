"""Subtitles of all kinds: each cue is a clip with its caption."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat

from cache.errors import UserError
from pipeline.formats.delimited import lines_of
from pipeline.formats.text import PER_MEDIUM, escaped, fault_of_caption, read_text
from stages.ingest.cues import Fault, Payload, literal, read_cue_lines, without_repeats, words_of

SUFFIXES = (".srt", ".vtt", ".sbv", ".ass", ".ssa", ".ttml", ".dfxp")
WHAT = "subtitle file"

_FRAMES = re.compile(r"\s*\{\d{1,9}\}\{\d{1,9}\}")
_SAMI = re.compile(r"\s*<SAMI", re.IGNORECASE)


@dataclass(frozen=True)
class Cue:
    """A subtitle: text shown from start_s to stop_s (seconds)."""

    start_s: float
    stop_s: float
    text: str


def read_cues(path: Path) -> tuple[list[Cue], list[str]]:
    """Reads a subtitle file; what it holds decides its kind, not its ending.

    Returns:
        (cues, reasons why single cues were left out).

    Raises:
        UserError: the file cannot be read or has no cue at all.
    """
    text = read_text(path, WHAT, PER_MEDIUM).text
    payloads, faults = _reader(text, path)(text)
    if not payloads and not faults:
        raise UserError(f"{path} has no subtitle cue (`00:00:01,000 --> 00:00:02,000` and a text below).")
    cues = []
    for payload in without_repeats(payloads):
        try:
            words = words_of(payload.lines)
            if reason := fault_of_caption(words):
                raise ValueError(reason)
        except ValueError as error:
            faults.append((payload.line, str(error)))
            continue
        if words:
            cues.append(Cue(payload.start_s, payload.stop_s, words))
    return cues, [escaped(f"line {line}: {reason}") for line, reason in sorted(faults)]


def _reader(text: str, path: Path) -> Callable[[str], tuple[list[Payload], list[Fault]]]:
    start = text[:10_000]
    if is_ttml(start):
        return read_ttml
    if is_substation(start):
        return read_substation
    if _SAMI.match(start):
        raise UserError(f"{path} is SAMI, in which cues need not end: convert it to SRT or VTT.")
    if _FRAMES.match(start):
        raise UserError(f"{path} counts frames (MicroDVD), whose times need the frame rate: convert it to SRT or VTT.")
    return read_cue_lines


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


MOST_DEEP = 100
_ABOUT = frozenset(("metadata", "title", "desc", "copyright", "agent", "name", "actor"))
"""Elements whose texts are not shown."""

_OFFSET = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)(h|ms|m|s|f|t)")
_CLOCK = re.compile(r"(\d{1,9}):(\d{2}):(\d{2})(\.\d{1,15}|:\d{1,9}(?:\.\d{1,9})?)?")
_ROOT = re.compile(r"<(?:[\w.-]{1,40}:)?tt[\s>]")


def is_ttml(start: str) -> bool:
    """Whether a file that begins so is TTML."""
    return start.lstrip().startswith("<") and _ROOT.search(start) is not None


def read_ttml(text: str) -> tuple[list[Payload], list[tuple[int, str]]]:
    """The cues of a file in its order, and (line, reason) of what cannot be read.

    Times count from the start of the element around them, as TTML says; `timeContainer="seq"` is a fault.
    """
    document = _Document()
    try:
        document.parser.Parse(text.encode("utf-8", "surrogatepass"), True)
    except expat.ExpatError as error:
        document.faults.append((error.lineno, f"it is no valid XML ({expat.ErrorString(error.code)})"))
    except ValueError as error:
        document.faults.append((document.parser.CurrentLineNumber, str(error)))
    return document.cues, document.faults


class _Document:
    """What has been read so far."""

    def __init__(self) -> None:
        self.cues: list[Payload] = []
        self.faults: list[tuple[int, str]] = []
        self._rates = {"frameRate": 30.0, "tickRate": 0.0, "frameRateMultiplier": 1.0}
        self._around: list[tuple[str, float, float | None]] = []  # name, start, end
        self._text: list[str] | None = None
        self._begun = 0
        self._timed_inside = False
        self.parser = expat.ParserCreate("utf-8")
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters
        self.parser.EntityDeclHandler = _refuse_entity

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        name = name.rpartition(":")[2]
        given = {key.rpartition(":")[2]: value for key, value in attributes.items()}
        line = self.parser.CurrentLineNumber
        if len(self._around) >= MOST_DEEP:
            raise ValueError(f"elements are nested more than {MOST_DEEP} deep")
        _, start, stop = self._around[-1] if self._around else ("", 0.0, None)
        if name == "tt":
            self._read_rates(given)
        elif name in ("body", "div", "p", "span"):
            try:
                begin, end = self._times(given, start)
                start, stop = begin, end if stop is None or (end is not None and end < stop) else stop
            except ValueError as error:
                self.faults.append((line, str(error)))
                start, stop = start, -1.0
            if name == "span" and ("begin" in given or "end" in given) and self._text is not None:
                self.faults.append((line, "words with times of their own within a paragraph take the paragraph's"))
        self._around.append((name, start, stop))
        if name == "p":
            self._text, self._begun = [], line
        elif name == "br" and self._text is not None:
            self._text.append("\n")

    def _end(self, name: str) -> None:
        name, start, stop = self._around.pop()
        if name != "p" or self._text is None:
            return
        lines, self._text = "".join(self._text).split("\n"), None
        if not any(line.strip() for line in lines) or stop == -1.0:
            return
        if stop is None:
            self.faults.append((self._begun, "the paragraph has no end"))
        elif stop <= start:
            self.faults.append((self._begun, f"the paragraph stops at {stop:g} s, before or when it starts"))
        else:
            self.cues.append(Payload(self._begun, start, stop, [literal(line) for line in lines]))

    def _characters(self, text: str) -> None:
        if self._text is not None and not any(name in _ABOUT for name, _, _ in self._around):
            self._text.append(text)

    def _read_rates(self, given: dict[str, str]) -> None:
        for name in ("frameRate", "tickRate"):
            if given.get(name, "").isdecimal() and len(given[name]) < 16:
                self._rates[name] = float(given[name])
        above, _, below = given.get("frameRateMultiplier", "1 1").replace(":", " ").partition(" ")
        if len(above + below) < 30 and above.isdecimal() and below.strip().isdecimal() and int(below):
            self._rates["frameRateMultiplier"] = int(above) / int(below)

    def _times(self, given: dict[str, str], parent_s: float) -> tuple[float, float | None]:
        if given.get("timeContainer") == "seq":
            raise ValueError('timeContainer="seq" is not read: write times for each paragraph')
        start = parent_s + (self._seconds(given["begin"]) if "begin" in given else 0.0)
        ends = [parent_s + self._seconds(given["end"])] if "end" in given else []
        ends += [start + self._seconds(given["dur"])] if "dur" in given else []
        return start, min(ends, default=None)

    def _seconds(self, text: str) -> float:
        frame_s = 1 / (self._rates["frameRate"] * self._rates["frameRateMultiplier"] or 30.0)
        tick_s = 1 / self._rates["tickRate"] if self._rates["tickRate"] else frame_s
        if match := _OFFSET.fullmatch(text.strip()):
            units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "f": frame_s, "t": tick_s}
            if match[2] == "t" and not self._rates["tickRate"]:
                raise ValueError(f"{text[:40]!r} counts ticks, and no tickRate says how long they are")
            return float(match[1]) * units[match[2]]
        if match := _CLOCK.fullmatch(text.strip()):
            fraction = match[4] or ""
            part = float(fraction[1:]) * frame_s if fraction.startswith(":") else float(f"0{fraction or '.0'}")
            return int(match[1]) * 3600 + int(match[2]) * 60 + int(match[3]) + part
        raise ValueError(f"{text[:40]!r} is no time (hh:mm:ss.mmm, or 1.5s)")


def _refuse_entity(*_: object) -> None:
    raise ValueError("it declares entities, which subtitles have no use for")
