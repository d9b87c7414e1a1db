"""SubRip (SRT), WebVTT and SBV: cues by lines. Every line is a part of a cue, of something known, or a fault.

Maintained libraries were compared on 24 small files, each with the right cues known: FFmpeg's readers (through PyAV)
gave 19 right, webvtt-py 0.6 18, ttconv 1.2 15, pysubs2 1.8 14, pycaption 2.3 13, srt 3.5 11 of the 17 SRT; what they
do not understand they leave out without a message (numbers at the end of a text, cues without hours, a second line
after a blank one). This reader gives 24; tests hold it against FFmpeg on ordinary files.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.formats.delimited import lines_of

BLINK_S = 0.05
"""A cue so short that only repeats what stood there is a step of rolling captions, as YouTube makes them."""
CONTIGUOUS_S = 0.5
MOST_ROLLING = 8
"""Lines that may stay from one cue to the next."""

_STAMP = r"<(?:\d{1,9}:)?\d{1,2}:\d{1,2}[.,]\d{1,6}>"
_MARKUP = re.compile(
    r"</?[A-Za-z][^\s<>=]*>"  # <i>, </font>, <c.yellow>
    r"|<(?:v|lang)(?:\.[^\s<>]*)?\s[^<>]*>"  # <v Anna>
    r"|<[A-Za-z][^\s<>=]*\s[^<>=]*=[^<>]*>"  # <font color="red">; not `a <b and c> d`
    r"|</?\s?(?:[ibusIBUS]|font)\s?>|<\s(?:/\s?)?(?:[ibusIBUS]|font)>"
    rf"|{_STAMP}"
    r"|\{\\[^{}]*\}"  # {\an8}
)
_INLINE = re.compile(_STAMP)


@dataclass(frozen=True)
class Payload:
    """A cue as it stands in its file.

    Attributes:
        line: number of the line with its times.
        start_s: start in seconds.
        stop_s: end in seconds.
        lines: the lines below.
    """

    line: int
    start_s: float
    stop_s: float
    lines: Sequence[str]


def words_of(lines: Sequence[str]) -> str:
    """The words of some lines, with single spaces between them.

    Raises:
        ValueError: an entity stands for no character.
    """
    text = " ".join(lines)
    if "<" in text or "{" in text:
        text = _MARKUP.sub("", text)
    if "&" in text:
        try:
            text = html.unescape(text)
        except (ValueError, OverflowError):  # a number of thousands of digits
            raise ValueError("an entity (&#...;) stands for no character") from None
    return " ".join(text.split())


def literal(line: str) -> str:
    """A line whose words look like markup and are none, so that `words_of` gives them as they stand."""
    return line.replace("&", "&amp;").replace("<", "&lt;").replace("{\\", "{&#92;")


def without_repeats(cues: list[Payload]) -> list[Payload]:
    """Rolling captions with each line once, in the cue in which it appears; other captions as they are.

    They are known by times within their lines (`<00:00:01.469>`), or by many cues of a blink that only repeat.
    """
    stamped = any("<" in line and _INLINE.search(line) for cue in cues for line in cue.lines)
    if not stamped and sum(cue.stop_s - cue.start_s <= BLINK_S for cue in cues) * 4 < max(len(cues), 1):
        return cues
    plain = [[_words_or_raw(line) for line in cue.lines if line.strip()] for cue in cues]
    blinks = sum(
        cue.stop_s - cue.start_s <= BLINK_S and bool(lines) and lines == above[-len(lines) :]
        for cue, lines, above in zip(cues[1:], plain[1:], plain, strict=False)
    )
    if not stamped and blinks * 4 < len(cues):
        return cues
    kept = []
    shown: list[str] = []
    stopped = -1.0
    for cue, lines in zip(cues, plain, strict=True):
        raw = [line for line in cue.lines if line.strip()]
        if cue.start_s - stopped > CONTIGUOUS_S:
            shown = []
        fixed = next((n for n, line in enumerate(raw) if _INLINE.search(line)), len(raw))
        repeated = max(
            (n for n in range(min(fixed, len(shown), MOST_ROLLING) + 1) if lines[:n] == shown[len(shown) - n :]),
            default=0,
        )
        if repeated < len(raw) or not raw:
            kept.append(Payload(cue.line, cue.start_s, cue.stop_s, raw[repeated:]))
        shown, stopped = lines, cue.stop_s
    return kept


def _words_or_raw(line: str) -> str:
    """The words of a line, or the line itself if they cannot be read."""
    try:
        return words_of([line])
    except ValueError:
        return line


HLS_START_S = 10
"""Where the clock of segmented media begins by custom; their players show it as 0."""

_ARROW = "-->"
_TIME = re.compile(r"[\d:.,]+")
_NEARLY = re.compile(r"\s*-?\d{1,9}:\d{1,2}[:.,]\S{1,20}\s{0,3}(?:[-–—=>→]\s{0,3}){1,6}\d{1,9}:\d{1,2}[:.,]")
_PART_OF_TIME = re.compile(r"\d:\d")
_SBV = re.compile(r"(\d{1,9}:\d{1,2}:\d{1,2}\.\d{1,9}),(\d{1,9}:\d{1,2}:\d{1,2}\.\d{1,9})\s*")
_INDEX = re.compile(r"\s*\d{1,18}\s*")
_MAP = re.compile(r"X-TIMESTAMP-MAP=.*", re.IGNORECASE)
_MAP_LOCAL = re.compile(r"LOCAL:([\d:.]+)", re.IGNORECASE)
_MAP_MPEG = re.compile(r"MPEGTS:(\d{1,20})", re.IGNORECASE)
_BLOCKS = ("NOTE", "STYLE", "REGION")
_HEADER = re.compile(r"WEBVTT(?:[ \t].*)?")
"""The first line, and again where files were joined."""

Fault = tuple[int, str]
"""Line and reason."""


def read_cue_lines(text: str) -> tuple[list[Payload], list[Fault]]:
    """The cues of a file, in its order, and what in it cannot be read.

    Args:
        text: the whole file; line ends may be CR LF, LF, CR, or CR CR LF.
    """
    lines = [line.rstrip("\r\n") for line in lines_of(text.replace("\r\r\n", "\n"))]
    web = _HEADER.fullmatch(next((line for line in lines if line.strip()), "")) is not None
    faults: list[Fault] = []
    times: list[tuple[int, float, float] | tuple[int, None, None]] = []
    in_note = False
    for number, line in enumerate(lines):
        if web and not line:
            in_note = False
        elif web and not in_note and _opens_block(line, lines[number - 1] if number else ""):
            in_note = True
        if in_note and _MAP.match(line) and not _is_same_clock(line):
            faults.append((number + 1, f"the times are shifted by {line.strip()[:100]!r}, which is not applied"))
        if in_note and not (_ARROW in line and not line.startswith("NOTE")):
            continue
        parts = _times_of(line)
        if parts is None:
            continue
        in_note = False
        try:
            start, stop = map(seconds, parts)
            after = line.partition(_ARROW)[2].split()[1:]
            if not all(":" in setting for setting in after):
                raise ValueError(f"{' '.join(after)[:100]!r} stands behind the times: write it below them")
            if stop <= start:
                raise ValueError(f"the cue {line.strip()[:100]!r} stops before it starts")
            times.append((number, start, stop))
        except ValueError as error:
            faults.append((number + 1, str(error)))
            times.append((number, None, None))
    return _cues(lines, times, web, faults), faults


def _cues(lines: list[str], times: list, web: bool, faults: list[Fault]) -> list[Payload]:
    """The text between the lines with times, without indices and identifiers."""
    if not times:
        return []
    cues = []
    ends = [number for number, _, _ in times[1:]] + [len(lines)]
    head, index = _without_index(lines[: times[0][0]], None, web, head=True)
    for number, line in enumerate(_without_blocks(head, "") if web else head, 1):
        if line.strip():
            faults.append((number, f"{line.strip()[:100]!r} stands before the first cue"))
            break
    for position, ((number, start, stop), end) in enumerate(zip(times, ends, strict=True)):
        payload = lines[number + 1 : end]
        if position < len(times) - 1:
            payload, index = _without_index(payload, index, web)
        if web:
            payload = _without_blocks(payload, lines[number])
        if start is not None and stop is not None:
            cues.append(Payload(number + 1, start, stop, payload))
    return cues


def _times_of(line: str) -> tuple[str, str] | None:
    """What stands for the start and the end if this is a line with times, well formed or not."""
    if _ARROW not in line:
        if ":" not in line:
            return None
        if match := _SBV.fullmatch(line):
            return match[1], match[2]
        return (line.strip()[:100], "") if _NEARLY.match(line) else None
    left, _, right = line.partition(_ARROW)
    left = left.strip()
    right = (right.split(maxsplit=1) or [""])[0]
    if _TIME.fullmatch(left) and (_TIME.fullmatch(right) or _PART_OF_TIME.search(right)):
        return left, right
    if _PART_OF_TIME.search(left[:40]) and _PART_OF_TIME.search(right[:40]):
        return (left, right) if not _TIME.fullmatch(left) else (right, left)
    if (_TIME.fullmatch(left) and ":" in left) or (_TIME.fullmatch(right) and ":" in right):
        return line.strip()[:100], ""
    return None


def _without_index(
    payload: list[str], index: int | None, web: bool, head: bool = False
) -> tuple[list[str], int | None]:
    """The lines above a line with times without the number (or, in WebVTT, the name) of the cue below.

    A number is one if it counts on (in WebVTT, right above the times), or stands between a blank line and the times;
    else it belongs to the text.
    """
    end = len(payload)
    while end and not payload[end - 1].strip():
        end -= 1
    if not end:
        return payload, index
    last, above = payload[end - 1], payload[end - 2].strip() if end > 1 else None
    if _INDEX.fullmatch(last):
        number = int(last)
        counts_on = index is not None and number == index + 1 and (not web or end == len(payload))
        if counts_on or (above is None and head) or (above == "" and end == len(payload)):
            return payload[: end - 1], number
    elif web and end == len(payload) and end > 1 and not payload[end - 2]:
        return payload[: end - 1], index
    return payload, index


def _opens_block(line: str, above: str) -> bool:
    """Whether a comment, style or region begins, or the header of this file or of one that was joined to it."""
    if _HEADER.fullmatch(line):
        return True
    name = line.split(maxsplit=1)[0] if line.strip() and not above else ""
    return name in _BLOCKS and (name == "NOTE" or line.strip() == name)


def _without_blocks(payload: list[str], above: str) -> list[str]:
    """Lines without comments, styles and headers, which follow an empty one; `above` is the line before the first."""
    kept: list[str] = []
    skipping = False
    for line in payload:
        if not line:
            skipping = False
        elif not skipping and _opens_block(line, above):
            skipping = True
        kept.append("" if skipping else line)
        above = line
    return kept


def _is_same_clock(line: str) -> bool:
    local, mpeg = _MAP_LOCAL.search(line), _MAP_MPEG.search(line)
    try:
        if local is None or mpeg is None:
            return False
        start_s = seconds(local[1])
        return any(abs(start_s + first_s - int(mpeg[1]) / 90_000) < 1e-3 for first_s in (0, HLS_START_S))
    except ValueError:
        return False


_CLOCK = re.compile(r"(?:(\d{1,9}):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,30}))?")
_NUMBER = re.compile(r"[+-]?(?:\d{1,30}\.?\d{0,30}|\.\d{1,30})(?:[eE][+-]?\d{1,3})?")
_COMMA = re.compile(r"(\d{1,30}),(\d{1,30})")
_SHOWN = 40
LARGEST_S = 1e9
"""No medium lasts 31 years."""


def seconds(text: str) -> float:
    """Seconds of `12.5`, `12,5`, `1:02.5`, `01:02:03.250` or `01:02:03,250`.

    Raises:
        ValueError: it is none of these, negative or too large; or a number like `1,500`, which may be 1.5 or 1,500.
    """
    text = text.strip()
    value = math.nan
    if ":" in text:
        if match := _CLOCK.fullmatch(text):
            hours, minutes, whole, fraction = match.groups()
            value = int(hours or 0) * 3600 + int(minutes) * 60 + float(f"{whole}.{fraction or 0}")
    elif _NUMBER.fullmatch(text):
        value = float(text)
    elif match := _COMMA.fullmatch(text):
        whole, fraction = match.groups()
        if len(fraction) == 3 and len(whole) <= 3 and whole.strip("0"):
            raise ValueError(f"{text!r} may be {whole}.{fraction} or {whole}{fraction} seconds: write a decimal point")
        value = float(f"{whole}.{fraction}")
    if not 0 <= value < LARGEST_S:
        shown = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
        raise ValueError(f"{shown!r} is no time (write seconds, or hh:mm:ss.mmm)")
    return value + 0.0  # not -0
