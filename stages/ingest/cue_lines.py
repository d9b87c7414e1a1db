"""SubRip (SRT), WebVTT and SBV: cues by lines. Every line is a part of a cue, of something known, or a fault.

Maintained libraries were compared on 24 small files, each with the right cues known: FFmpeg's readers (through PyAV)
gave 19 right, webvtt-py 0.6 18, ttconv 1.2 15, pysubs2 1.8 14, pycaption 2.3 13, srt 3.5 11 of the 17 SRT; what they
do not understand they leave out without a message (numbers at the end of a text, cues without hours, a second line
after a blank one). This reader gives 24; tests hold it against FFmpeg on ordinary files.
"""

from __future__ import annotations

import re

from pipeline.text.delimited import lines_of
from stages.ingest.clock import seconds
from stages.ingest.cue_text import Payload

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
