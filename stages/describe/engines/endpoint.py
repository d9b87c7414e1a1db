"""Engine `openai`: any endpoint that speaks as OpenAI's chat completions do."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cache.errors import UserError
from stages.describe.budget import Budget, BudgetSpent, estimated_input, estimated_tokens
from stages.describe.config import DescriptionConfig
from stages.describe.engine import EndpointLost, Listener, Reply
from stages.describe.engines.no_answer import NoAnswer, Rejected
from stages.describe.engines.patience import Patience
from stages.describe.prompts import question
from stages.describe.tasks import Task

if TYPE_CHECKING:
    from stages.describe.engines.exchange import Exchange

FIRST_FAILURES = 3
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class EndpointEngine:
    """Asks many captions at a time; each answer is handed on before its place is taken by another request."""

    def __init__(self, config: DescriptionConfig) -> None:
        self._config = config
        self._with_schema = True  # until the endpoint refuses a JSON schema

    def identity(self) -> Mapping[str, Any]:
        """The model's name: an endpoint that moves, or a second one with the same model, gives the same answers."""
        return {"model": self._config.model}

    def ask(self, task: Task, captions: Sequence[str], budget: Budget, listener: Listener) -> None:
        """See `Engine.ask`. Until a first answer has come requests go one by one: a wrong key or model costs one."""
        asyncio.run(self._ask(task, captions, budget, listener))

    async def _ask(self, task: Task, captions: Sequence[str], budget: Budget, listener: Listener) -> None:
        from stages.describe.engines.exchange import Exchange  # openai takes a second to import

        async with self._client() as client:
            exchange = Exchange(client, self._config, self._secret(), self._with_schema)
            run = _Run(self._config, exchange, budget, listener)
            queue = iter(captions)
            await run.work(task, queue, until_answered=True)
            workers = [run.work(task, queue) for _ in range(self._config.endpoint.concurrency)]
            for ended in await asyncio.gather(*workers, return_exceptions=True):
                if isinstance(ended, BaseException):
                    raise ended
            self._with_schema = exchange.with_schema
            if run.spent:
                raise run.spent

    def _secret(self) -> str:
        variable = self._config.endpoint.key_variable
        if variable is None:
            return ""
        value = os.environ.get(variable, "").strip()
        if not value:
            raise UserError(
                f"The key of {self._config.model!r} is missing: set the environment variable {variable} (or "
                "`key_variable: null` under `endpoint:` for an endpoint that wants none)."
            )
        return value

    def _client(self) -> Any:
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        url = self._config.endpoint.base_url or os.environ.get("OPENAI_BASE_URL") or None
        local = urlsplit(url or "").hostname in LOOPBACK  # a proxy of the environment does not lead back here
        return AsyncOpenAI(
            api_key=self._secret() or "none",
            base_url=url,
            max_retries=0,
            timeout=self._config.endpoint.timeout_s,
            http_client=DefaultAsyncHttpxClient(  # no redirect: the key goes where the config says, or nowhere
                trust_env=not local, verify=not (url or "").startswith("http://"), follow_redirects=False
            ),
        )


class _Run:
    """The requests of one call of `ask`."""

    def __init__(self, config: DescriptionConfig, exchange: Exchange, budget: Budget, listener: Listener) -> None:
        self.spent: BudgetSpent | None = None
        self._config, self._options, self._exchange = config, config.endpoint, exchange
        self._budget, self._listener = budget, listener
        self._patience = Patience(self._options.backoff_s)
        self._answered = False
        self._failed_in_a_row = 0
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
                    self._listener.answered(caption, reply)
            except BudgetSpent as spent:
                self.spent = self.spent or spent
                self._stop.set()
            except BaseException:
                self._stop.set()  # what other workers have under way is still received and kept
                raise

    def _fail(self, caption: str, failure: NoAnswer) -> None:
        self._failed_in_a_row += not failure.of_caption
        if not self._answered and isinstance(failure, Rejected):
            raise UserError(f"{self._exchange.name} rejects what it is asked: {failure}.") from None
        patience = 2 * self._options.concurrency if self._answered else FIRST_FAILURES
        if failure.final or self._failed_in_a_row >= patience:
            raise EndpointLost(
                f"{self._exchange.name} gives no answers: {failure}. What it has answered is kept; run again to go on."
            ) from None
        self._listener.failed(caption, str(failure))

    async def _reply(self, task: Task, caption: str) -> Reply:
        text = question(caption)
        most = estimated_input(task.prompt, text) + self._config.answer_limit
        attempt = 0
        while True:
            while not self._stopped and (pause := self._patience.pause_left_s()) > 0:
                await self._sleep(pause)
            if self._stopped:
                raise BudgetSpent("another request ended the run")
            self._budget.reserve(most)
            try:
                reply = await self._exchange.reply(task, text)
            except NoAnswer as failure:
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
                self._budget.spend(most, reply.input_tokens, reply.output_tokens)
                return reply


def counted(reply: Reply, task: Task, text: str) -> Reply:
    """The reply with estimated tokens where the endpoint does not count."""
    if reply.input_tokens or reply.output_tokens:
        return reply
    tokens = estimated_input(task.prompt, text), estimated_tokens(reply.text)
    return Reply(reply.text, reply.finish, reply.model, *tokens)
