"""How the row of a sound together with a text is called."""

from __future__ import annotations


def pair_id(clip_id: str, caption_id: str) -> str:
    """The id of a clip's sound with one of its captions."""
    return f"{caption_id}|{clip_id}"
