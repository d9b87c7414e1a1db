"""`configs/descriptions/NAME.yaml`: which model describes captions, by which prompts, at what price."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from pipeline.config.records import CONFIGS, Settings, load, named

PROMPTS = CONFIGS / "prompts"
SENT_BY_US = {"model", "messages", "stream", "n", "response_format", "tools"}

MOST_NEW_TOKENS = 256

Decoding = dict[str, bool | int | float | str | list[str] | None]


class Prices(Settings):
    """What tokens cost.

    Attributes:
        input, output: per million tokens.
        currency: its name.
    """

    input: Annotated[float, Field(ge=0)] = 0.0
    output: Annotated[float, Field(ge=0)] = 0.0
    currency: str = "USD"


class Endpoint(Settings):
    """An endpoint that speaks as OpenAI's chat completions do. Nothing here changes an answer.

    Attributes:
        base_url: for example `http://localhost:11434/v1`; $OPENAI_BASE_URL or OpenAI's own if null.
        key_variable: name of the environment variable that holds the key; null for an endpoint that wants none.
        concurrency: requests in flight at a time.
        timeout_s: a request that has not been answered in full by then is asked again.
        attempts: per question, of those that fail by time-out, rate limit or a fault of the server.
        backoff_s: wait before the second attempt; doubled for each further one, with jitter.
        max_answer_mb: megabytes that the body of one answer may have, compressed and decompressed.
        longest_wait_s: an endpoint that asks for a longer pause than this ends the run.
    """

    base_url: str | None = None
    key_variable: str | None = "OPENAI_API_KEY"
    concurrency: Annotated[int, Field(ge=1)] = 8
    timeout_s: Annotated[float, Field(gt=0)] = 60.0
    attempts: Annotated[int, Field(ge=1)] = 6
    backoff_s: Annotated[float, Field(gt=0)] = 1.0
    max_answer_mb: Annotated[float, Field(gt=0)] = 8.0
    longest_wait_s: Annotated[float, Field(gt=0)] = 120.0

    @field_validator("base_url")
    @classmethod
    def _no_secret(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        if url is not None and ("@" in url or "?" in url):
            raise ValueError("holds a user, password or query: keys come from the environment alone (key_variable)")
        try:
            whole = url is None or bool(urlsplit(url).hostname and urlsplit(url).port != 0)
        except ValueError:
            whole = False
        if not whole:
            raise ValueError("is no address: write it like http://localhost:11434/v1")
        return url

    @field_validator("key_variable")
    @classmethod
    def _name(cls, variable: str | None) -> str | None:
        if variable is not None and not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", variable):
            raise ValueError("must be the name of an environment variable, not the key itself")
        return variable


class DescriptionConfig(Settings):
    """`configs/descriptions/NAME.yaml`; its captions become the caption source `described-NAME`.

    Attributes:
        engine: an `openai` endpoint, or a `transformers` model on this machine.
        model: its name at the endpoint; or a folder or hub id.
        captions: the caption source to describe; null takes `visual` where there is one, else the only one.
        prompt: file of `configs/prompts/` (without suffix) that asks for an audio description.
        relevancy_prompt: the one that asks how relevant audio is; null if levels are not wanted.
        examples: CSV of `configs/prompts/` (without suffix) with pairs in columns `visual` and `audio`, which a prompt
            may show to the model.
        decoding: parameters handed on as they stand: `temperature`, `max_tokens`, `seed`, ... to an endpoint,
            `max_new_tokens`, `do_sample`, ... to transformers.
        endpoint: of the engine `openai`.
        batch_size: captions at a time, of the engine `transformers`.
        tries: how often a caption is asked about whose answer cannot be used.
        prices: for the estimate of costs.
    """

    engine: Literal["openai", "transformers"] = "openai"
    model: str
    captions: str | None = None
    prompt: str = "few-shot-sound"
    relevancy_prompt: str | None = "sound-relevancy"
    examples: str = "examples"
    decoding: Decoding = Field(default_factory=dict)
    endpoint: Endpoint = Endpoint()
    batch_size: Annotated[int, Field(ge=1)] = 16
    tries: Annotated[int, Field(ge=1)] = 2
    prices: Prices = Prices()

    @model_validator(mode="after")
    def _only_decoding(self) -> DescriptionConfig:
        taken = SENT_BY_US & set(self.decoding)
        if taken:
            raise ValueError(f"decoding: {', '.join(sorted(taken))} cannot be set here")
        if any("key" in name.lower() or "auth" in name.lower() for name in self.decoding):
            raise ValueError("decoding holds no keys: they come from the environment alone (endpoint.key_variable)")
        return self

    @property
    def answer_limit(self) -> int | None:
        """Most tokens that one answer may have, as `decoding` says; None if it says nothing to an endpoint."""
        for name in ("max_completion_tokens", "max_tokens", "max_new_tokens"):
            value = self.decoding.get(name)
            if isinstance(value, int):
                return value
        return MOST_NEW_TOKENS if self.engine == "transformers" else None


def load_description(name: str) -> DescriptionConfig:
    """Reads `configs/descriptions/<name>.yaml`.

    Raises:
        UserError: there is none, or something in it is not understood.
    """
    return load(named("descriptions", name), DescriptionConfig)
