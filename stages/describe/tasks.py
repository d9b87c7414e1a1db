"""What a model is asked: an audio description, or a level of relevancy; and what counts as an answer."""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass
from typing import Any

from cache.answers import Answer

LEVELS = ("low", "moderate", "high")
MOST_LETTERS = 400
NO_TEXT = {"Cc", "Cs"}  # Unicode's categories of control characters and of halves of surrogate pairs
_FENCE = re.compile(r"\A```(?:json)?\s*\n(.*)\n\s*```\Z", re.DOTALL)


class Unusable(Exception):
    """An answer that is none; says why."""


@dataclass(frozen=True)
class Task:
    """One question asked of each caption.

    Attributes:
        name: also the only key of the JSON object that answers it.
        prompt: the instruction, without the caption.
        choices: all possible answers; any text if empty.
    """

    name: str
    prompt: str
    choices: tuple[str, ...] = ()

    @property
    def schema(self) -> dict[str, Any]:
        """JSON schema of an answer."""
        value: dict[str, Any] = {"type": "string"}
        if self.choices:
            value["enum"] = list(self.choices)
        return {
            "type": "object",
            "properties": {self.name: value},
            "required": [self.name],
            "additionalProperties": False,
        }

    def value(self, answer: Answer) -> str:
        """What an answer says.

        Raises:
            Unusable: a refusal, cut off, or anything but the one JSON object that was asked for.
        """
        if answer.finish == "refusal":
            raise Unusable(f"the model refused: {_short(answer.reply)}")
        if answer.finish == "content_filter":
            raise Unusable("the endpoint's content filter kept the answer back")
        if answer.finish == "length":
            raise Unusable(f"the answer was cut off at the limit of tokens: {_short(answer.reply)}")
        text = answer.reply.strip()
        fenced = _FENCE.match(text)
        try:
            found = json.loads(fenced[1] if fenced else text, object_pairs_hook=tuple)  # a key may stand there twice
        except (ValueError, RecursionError):
            raise Unusable(f"the answer is no JSON: {_short(text)}") from None
        names = [name for name, _ in found] if isinstance(found, tuple) else []
        if names != [self.name] or not isinstance(found[0][1], str):
            raise Unusable(f"the answer is not an object with the one text {self.name!r}: {_short(text)}")
        value = " ".join(found[0][1].split())
        if self.choices:
            if value.lower() not in self.choices:
                raise Unusable(f"{_short(value)} is none of {', '.join(self.choices)}")
            return value.lower()
        if not value:
            raise Unusable("the answer is empty")
        if any(unicodedata.category(letter) in NO_TEXT for letter in value):
            raise Unusable(f"the answer holds control or half characters: {_short(value)}")
        if len(value) > MOST_LETTERS:
            raise Unusable(f"the answer has {len(value)} letters, more than {MOST_LETTERS}: {_short(value)}")
        return value


def _short(text: str) -> str:
    text = " ".join(text.split())
    return repr(text if len(text) <= 80 else f"{text[:77]}...")
