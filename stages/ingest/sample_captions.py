"""Captions of the samples of a data set: from text files, and from the fields of JSON objects or rows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.formats.delimited import lines_of
from pipeline.formats.text import fault_of_caption

TXT = "txt"
CAPTION_KEYS = (TXT, "caption", "captions", "text", "texts", "description", "sentence", "sentences", "raw_text")
"""Where captions are looked for unless `caption_keys` says otherwise."""


class SampleCaptions:
    """Finds the captions of samples, and counts where they were found.

    Args:
        keys: where to look, in this order; the first that holds text gives all captions of a sample.

    Attributes:
        taken: how many samples have their captions from each key.
        unused: how often each key of an object held text that was not taken, for messages.
    """

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self.keys = tuple(keys) or CAPTION_KEYS
        self.taken: Counter[str] = Counter()
        self.unused: Counter[str] = Counter()

    def of(self, text: str | None, fields: Mapping[str, Any]) -> tuple[tuple[str, ...], list[str]]:
        """The captions of a sample, each once, and why others are none.

        Args:
            text: of its text file, a caption a line; None if it has none.
            fields: of its JSON object, or its row.
        """
        faults: list[str] = []
        for key in self.keys:
            if key == TXT and key not in fields:
                given: list[Any] = [] if text is None else lines_of(text)
            else:
                value = fields.get(key)
                given = list(value) if isinstance(value, (list, tuple)) else [value]
            captions, reasons = _texts(key, given)
            faults += reasons
            if captions:
                self.taken[key] += 1
                return captions, faults
        self.unused.update(key for key, value in fields.items() if isinstance(value, str) and value.strip())
        return (), faults

    def note(self, where: str) -> str | None:
        """Where captions were taken from; None if there are none.

        Args:
            where: what has the keys: `JSON key`, `column`.
        """
        if not self.taken:
            return None
        named = [
            f"{count} from " + (".txt" if key == TXT and where == "JSON key" else f"{where} {key!r}")
            for key, count in self.taken.most_common()
        ]
        return f"captions: {', '.join(named)}"


def _texts(key: str, given: Sequence[Any]) -> tuple[tuple[str, ...], list[str]]:
    captions: dict[str, None] = {}
    faults = []
    for value in given:
        if value is None:
            continue
        if not isinstance(value, str):
            faults.append(f"{key!r} holds {type(value).__name__}, not a text")
        elif reason := fault_of_caption(value.strip()):
            faults.append(f"{key!r}: {reason}")
        elif value.strip():
            captions[value.strip()] = None
    return tuple(captions), faults


def json_fields(text: str) -> dict[str, Any]:
    """The object of a JSON file.

    Raises:
        ValueError: it is none; says why.
    """
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"is no JSON ({getattr(error, 'msg', error)})") from None
    if not isinstance(found, dict):
        raise ValueError("is no JSON object")
    return found
