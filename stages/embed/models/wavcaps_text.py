"""What WavCaps' text tower reads: captions without capitals and punctuation."""

from __future__ import annotations

import re

_SPACE_BEFORE_PUNCTUATION = re.compile(r'\s([,.!?;:"](?:\s|$))')
_PUNCTUATION = re.compile(r'[(,.!?;:|*")]')


def spoken_text(caption: str) -> str:
    """A caption as WavCaps prepares it for training: lower case, a space for each punctuation mark.

    Pairs of spaces become one, once before and once after the marks, as in the original: three in a row leave two.
    """
    closed = _SPACE_BEFORE_PUNCTUATION.sub(r"\1", caption.lower()).replace("  ", " ")
    return _PUNCTUATION.sub(" ", closed).replace("  ", " ")
