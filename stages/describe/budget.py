"""How many requests and tokens a run may spend, and what it has spent."""

from __future__ import annotations

import math
from dataclasses import dataclass

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
    """A limit that holds for requests under way as well: their most is reserved before they are sent.

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
