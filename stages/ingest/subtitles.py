"""Subtitles of all kinds: each cue is a clip with its caption."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cache.errors import UserError
from pipeline.text.decoding import PER_MEDIUM, escaped, fault_of_caption, read_text
from stages.ingest.cue_lines import Fault, read_cue_lines
from stages.ingest.cue_text import Payload, without_repeats, words_of
from stages.ingest.substation import is_substation, read_substation
from stages.ingest.ttml import is_ttml, read_ttml

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
