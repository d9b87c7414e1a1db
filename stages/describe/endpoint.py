"""Engine `openai`: any endpoint that speaks as OpenAI's chat completions do."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from http.cookiejar import CookieJar
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cache.errors import UserError
from pipeline.monitor.signals import handled_by_asyncio
from stages.describe.config import DescriptionConfig, Endpoint
from stages.describe.engine import (
    Budget,
    BudgetSpent,
    Callbacks,
    EndpointLost,
    Reply,
    Task,
    estimated_input,
    estimated_tokens,
)
from stages.describe.exchange import NoAnswer, Patience, Rejected
from stages.describe.prompts import question

if TYPE_CHECKING:
    from stages.describe.exchange import Exchange

FIRST_FAILURES = 3


class EndpointEngine:
    """Asks many captions at a time; each answer is stored before another request takes its slot."""

    def __init__(self, config: DescriptionConfig) -> None:
        self._config = config
        self._with_schema = True  # until the endpoint refuses a JSON schema

    def identity(self) -> Mapping[str, Any]:
        """The model's name: an endpoint that moves, or a second one with the same model, gives the same answers."""
        return {"model": self._config.model}

    def ask(self, task: Task, captions: Sequence[str], budget: Budget, callbacks: Callbacks) -> None:
        """See `Engine.ask`. Until a first answer has come requests go one by one: a wrong key or model costs one."""
        with handled_by_asyncio():
            asyncio.run(self._ask(task, captions, budget, callbacks))

    async def _ask(self, task: Task, captions: Sequence[str], budget: Budget, callbacks: Callbacks) -> None:
        from stages.describe.exchange import Exchange  # openai takes a second to import

        async with open_client(self._config) as client:
            exchange = Exchange(client, self._config, key_of(self._config), self._with_schema)
            run = _Run(self._config, exchange, budget, callbacks)
            queue = iter(captions)
            await run.work(task, queue, until_answered=True)
            workers = [run.work(task, queue) for _ in range(self._config.endpoint.concurrency)]
            for ended in await asyncio.gather(*workers, return_exceptions=True):
                if isinstance(ended, BaseException):
                    raise ended
            self._with_schema = exchange.with_schema
            run.end()


class _Run:
    """The requests of one call of `ask`."""

    def __init__(self, config: DescriptionConfig, exchange: Exchange, budget: Budget, callbacks: Callbacks) -> None:
        self.spent: BudgetSpent | None = None
        self._config, self._options, self._exchange = config, config.endpoint, exchange
        self._budget, self._callbacks = budget, callbacks
        self._patience = Patience(self._options.backoff_s)
        self._answered = False
        self._failed_in_a_row = 0
        self._unanswered: NoAnswer | None = None  # the last that was not rejected
        self._undercount = 1.0  # input tokens that the endpoint counts for each that was estimated
        self._stop = asyncio.Event()

    @property
    def _stopped(self) -> bool:
        return self._stop.is_set()

    async def _sleep(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    async def work(self, task: Task, captions: Iterator[str], until_answered: bool = False) -> None:
        """Asks about captions until there are none left, the budget is spent or something goes wrong."""
        while not self._stopped and not (until_answered and self._answered):
            caption = next(captions, None)
            if caption is None:
                return
            try:
                try:
                    reply = await self._reply(task, caption)
                except NoAnswer as failure:
                    self._fail(caption, failure)
                else:
                    self._answered, self._failed_in_a_row = True, 0
                    self._callbacks.answered(caption, reply)
            except BudgetSpent as spent:
                self.spent = self.spent or spent
                self._stop.set()
            except BaseException:
                self._stop.set()  # what other workers have in flight is still received and kept
                raise

    def end(self) -> None:
        """Raises what ended the run, if it was not the end of the captions.

        Raises:
            BudgetSpent: nothing more may be asked.
            EndpointLost: of all that was asked nothing was answered, so that the captions are not to blame.
        """
        if self.spent:
            raise self.spent
        if self._unanswered and not self._answered:
            raise self._lost(self._unanswered)

    def _lost(self, failure: NoAnswer) -> EndpointLost:
        return EndpointLost(
            f"{self._exchange.name} gives no answers: {failure}. What it has answered is kept; run again to go on."
        )

    def _fail(self, caption: str, failure: NoAnswer) -> None:
        self._failed_in_a_row += not failure.of_caption
        self._unanswered = failure if failure.again else self._unanswered
        patience = 2 * self._options.concurrency if self._answered else FIRST_FAILURES
        if failure.final or self._failed_in_a_row >= patience:
            if isinstance(failure, Rejected) and not self._answered:
                raise UserError(f"{self._exchange.name} rejects what it is asked: {failure}.") from None
            raise self._lost(failure) from None
        self._callbacks.failed(caption, str(failure))

    async def _reply(self, task: Task, caption: str) -> Reply:
        text = question(caption)
        guess = estimated_input(task.prompt, text)
        attempt = 0
        while True:
            while not self._stopped and (pause := self._patience.pause_left_s()) > 0:
                await self._sleep(pause)
            if self._stopped:
                raise BudgetSpent("another request ended the run")
            most = math.ceil(guess * self._undercount) + (self._config.answer_limit or 0)
            self._budget.reserve(most)
            try:
                reply = await self._exchange.reply(task, text)
            except NoAnswer as failure:
                if not failure.lost:
                    self._budget.release(most)
                attempt += 1
                if failure.without_schema:  # asked again at once, and from now on without
                    attempt -= 1
                    continue
                if not failure.again or attempt >= self._options.attempts:
                    raise
                wait = self._patience.wait_s(attempt, failure.pause_s)
                if wait > self._options.longest_wait_s + self._options.backoff_s:
                    failure.final = True
                    raise
                await self._sleep(wait)
            else:
                reply = counted(reply, task, text)
                self._undercount = max(self._undercount, reply.input_tokens / guess)
                self._budget.spend(most, reply.input_tokens, reply.output_tokens)
                return reply


def counted(reply: Reply, task: Task, text: str) -> Reply:
    """The reply with estimated tokens where the endpoint does not count."""
    sent = reply.input_tokens or estimated_input(task.prompt, text)
    made = reply.output_tokens or estimated_tokens(reply.text)
    return replace(reply, input_tokens=sent, output_tokens=made)


LOOPBACK = {"localhost", "127.0.0.1", "::1"}
URL_VARIABLE = "OPENAI_BASE_URL"
OPENAI = "https://api.openai.com/v1"


class _NoCookies(CookieJar):
    """Takes no cookies: nobody needs them, and Python's parser prints a traceback at some."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        """See there."""


def key_of(config: DescriptionConfig) -> str:
    """The key, out of the environment; empty for an endpoint that wants none.

    Raises:
        UserError: it is missing, or cannot be sent in a header.
    """
    variable = config.endpoint.key_variable
    if variable is None:
        return ""
    value = os.environ.get(variable, "").strip()
    if not value:
        raise UserError(
            f"The key of {config.model!r} is missing: set the environment variable {variable} (or "
            "`key_variable: null` under `endpoint:` for an endpoint that wants none)."
        )
    if not all("!" <= letter <= "~" for letter in value):
        raise UserError(
            f"The environment variable {variable} holds more than a key (a blank, a line break or a letter beyond "
            "ASCII): set it to the key alone."
        )
    return value


def address_of(options: Endpoint) -> str:
    """The base URL, out of the configuration, else the environment, else OpenAI's.

    Raises:
        UserError: the environment's is none, or holds a user, password or query.
    """
    if options.base_url is not None:
        return options.base_url
    url = os.environ.get(URL_VARIABLE, "").strip() or OPENAI
    try:
        return str(Endpoint.model_validate({"base_url": url}).base_url)
    except ValueError:
        raise UserError(
            f"The environment variable {URL_VARIABLE} must be an address like http://localhost:11434/v1, without user, "
            "password or query: keys come from the variable of `key_variable` alone."
        ) from None


def open_client(config: DescriptionConfig) -> Any:
    """An `openai.AsyncOpenAI` that retries nothing and follows no redirect: the key goes to the address, or nowhere.

    Raises:
        UserError: key, address or the environment's proxy cannot be used.
    """
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient

    from stages.describe.exchange import ACCEPTED, bounded

    key, url = key_of(config), address_of(config.endpoint)
    local = urlsplit(url).hostname in LOOPBACK  # a proxy of the environment does not lead back here
    try:
        http_client = DefaultAsyncHttpxClient(
            trust_env=not local,
            verify=not url.startswith("http://"),
            follow_redirects=False,
            headers={"Accept-Encoding": ACCEPTED},
            cookies=_NoCookies(),
            event_hooks={"response": [bounded(int(config.endpoint.max_answer_mb * 1e6))]},
        )
    except Exception as error:  # of many kinds, and some repeat the proxy's password
        raise UserError(
            f"No connection can be made to {url} ({type(error).__name__}): the environment's HTTP_PROXY, HTTPS_PROXY, "
            "ALL_PROXY or SSL_CERT_FILE names what cannot be used."
        ) from None
    return AsyncOpenAI(
        api_key=key or "none",
        base_url=url,
        max_retries=0,
        timeout=config.endpoint.timeout_s,
        http_client=http_client,
    )
