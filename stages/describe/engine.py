"""What an engine does: answer a task about captions, within a budget, one reply after another."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cache.answers import Answer
from cache.errors import UserError

LEVELS = ("low", "moderate", "high")
MOST_LETTERS = 400
NO_TEXT = {"Cc", "Cs"}  # Unicode's categories of control characters and of halves of surrogate pairs
_FENCE = re.compile(r"\A```(?:json)?\s*\n(.*)\n\s*```\Z", re.DOTALL)


class Unusable(Exception):
    """An answer that cannot be used; says why."""


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


TOKENS_PER_MESSAGE = 4


def estimated_tokens(text: str) -> int:
    """Tokens of a text for a tokenizer not at hand: a quarter of its ASCII letters, and one for each other letter.

    For English within some 20 % of what the tokenizers of GPT and Llama make of it.
    """
    ascii_letters = sum(letter.isascii() for letter in text)
    return math.ceil(ascii_letters / 4) + len(text) - ascii_letters


def estimated_input(prompt: str, question: str) -> int:
    """Tokens of a request: two messages and the start of the answer."""
    return estimated_tokens(prompt) + estimated_tokens(question) + 3 * TOKENS_PER_MESSAGE


class BudgetSpent(Exception):
    """The next request could exceed the budget; says which."""


@dataclass
class Budget:
    """A limit that holds for requests in flight as well: their most is reserved before they are sent.

    Attributes:
        max_requests: requests, repeated attempts included; None for no limit.
        max_tokens: input and output tokens together; None for no limit.
        requests, input_tokens, output_tokens: spent so far.
    """

    max_requests: int | None = None
    max_tokens: int | None = None
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    _reserved: int = 0

    def reserve(self, tokens: int) -> None:
        """Takes one request, and tokens until `spend` or `release`.

        Raises:
            BudgetSpent: not that much is left.
        """
        if self.max_requests is not None and self.requests >= self.max_requests:
            raise BudgetSpent(f"the budget of {self.max_requests} requests is used up")
        spent = self.input_tokens + self.output_tokens + self._reserved
        if self.max_tokens is not None and spent + tokens > self.max_tokens:
            raise BudgetSpent(f"the budget of {self.max_tokens} tokens is used up")
        self.requests += 1
        self._reserved += tokens

    def release(self, tokens: int) -> None:
        """Gives back what was reserved for a request that ended without an answer."""
        self._reserved -= tokens

    def spend(self, reserved: int, input_tokens: int, output_tokens: int) -> None:
        """Puts in place of a reservation what the request took."""
        self.release(reserved)
        self.input_tokens += input_tokens
        self.output_tokens += output_tokens


@dataclass(frozen=True)
class Reply:
    """What came back for one caption; see `cache.answers.Answer`."""

    text: str
    finish: str
    model: str
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True)
class Callbacks:
    """Called for each caption as soon as its result is known.

    Attributes:
        answered: (caption, reply); keeps an answer, and the engine waits until this returns.
        failed: (caption, reason); there is no answer.
    """

    answered: Callable[[str, Reply], None]
    failed: Callable[[str, str], None]


class EndpointLost(UserError):
    """The endpoint does not answer any more; what was received is kept."""


class Engine(Protocol):
    """A model that answers tasks."""

    def identity(self) -> Mapping[str, Any]:
        """What distinguishes this model from others, of whatever engine; paths stand for the bytes of files."""

    def ask(self, task: Task, captions: Sequence[str], budget: Budget, callbacks: Callbacks) -> None:
        """Asks about each caption and calls back.

        Raises:
            BudgetSpent: nothing more may be asked; what was in flight has been answered.
            UserError: the model cannot be used at all.
        """
