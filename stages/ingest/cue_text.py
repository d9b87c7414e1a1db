"""From the payload of a cue to its words: markup taken out in one pass, entities resolved, rolling lines told once."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

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
    """The words of a line, or the line itself if they cannot be told."""
    try:
        return words_of([line])
    except ValueError:
        return line
