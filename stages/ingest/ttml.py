"""TTML and its older form DFXP: paragraphs with times.

pysubs2 1.8 stops at a paragraph with `dur` or with frames and finds none in the older namespaces, so the times are
read here; the XML is read by expat, which bounds what entities may expand to.
"""

from __future__ import annotations

import re
from xml.parsers import expat

from stages.ingest.cue_text import Payload, literal

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
