"""SubRip (SRT) and WebVTT cues: each is a clip with its caption."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from pathlib import Path

from cache.errors import UserError
from stages.ingest.clock import seconds

SUFFIXES = (".srt", ".vtt")
_TIMES = re.compile(r"^\s*([\d:.,]+)\s*-->\s*([\d:.,]+)")
_TAGS = re.compile(r"<[^>]*>|\{\\[^}]*\}")


@dataclass(frozen=True)
class Cue:
    """A subtitle: text shown from start_s to stop_s (seconds)."""

    start_s: float
    stop_s: float
    text: str


def read_cues(path: Path) -> tuple[list[Cue], list[str]]:
    """Reads an SRT or VTT file.

    Returns:
        (cues, reasons why single cues were left out).

    Raises:
        UserError: the file cannot be read or has no cue at all.
    """
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise UserError(f"The subtitles {path} cannot be read: {error.strerror}.") from None
    cues: list[Cue] = []
    faults: list[str] = []
    for block in re.split(r"\n\s*\n", text.replace("\r\n", "\n").replace("\r", "\n")):
        lines = block.strip("\n").split("\n")
        for number, line in enumerate(lines):
            match = _TIMES.match(line)
            if not match:
                continue
            words = " ".join(html.unescape(_TAGS.sub("", " ".join(lines[number + 1 :]))).split())
            try:
                start, stop = seconds(match[1]), seconds(match[2])
                if stop <= start:
                    raise ValueError(f"the cue {line.strip()!r} stops before it starts")
            except ValueError as error:
                faults.append(str(error))
                break
            if words:
                cues.append(Cue(start, stop, words))
            break
    if not cues and not faults:
        raise UserError(f"{path} has no subtitle cue (`00:00:01,000 --> 00:00:02,000` and a text below).")
    return cues, faults
