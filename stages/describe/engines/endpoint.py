"""Engine `openai`: any endpoint that speaks as OpenAI's chat completions do."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cache.errors import UserError
from pipeline.operations.interruption import left_to_asyncio
from stages.describe.budget import Budget, BudgetSpent, estimated_input, estimated_tokens
from stages.describe.config import DescriptionConfig
from stages.describe.engine import EndpointLost, Listener, Reply
from stages.describe.engines.access import key_of, open_client
from stages.describe.engines.no_answer import NoAnswer, Rejected
from stages.describe.engines.patience import Patience
from stages.describe.prompts import question
from stages.describe.tasks import Task

if TYPE_CHECKING:
    from stages.describe.engines.exchange import Exchange

FIRST_FAILURES = 3


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
        with left_to_asyncio():
            asyncio.run(self._ask(task, captions, budget, listener))

    async def _ask(self, task: Task, captions: Sequence[str], budget: Budget, listener: Listener) -> None:
        from stages.describe.engines.exchange import Exchange  # openai takes a second to import

        async with open_client(self._config) as client:
            exchange = Exchange(client, self._config, key_of(self._config), self._with_schema)
            run = _Run(self._config, exchange, budget, listener)
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

    def __init__(self, config: DescriptionConfig, exchange: Exchange, budget: Budget, listener: Listener) -> None:
        self.spent: BudgetSpent | None = None
        self._config, self._options, self._exchange = config, config.endpoint, exchange
        self._budget, self._listener = budget, listener
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
                    self._listener.answered(caption, reply)
            except BudgetSpent as spent:
                self.spent = self.spent or spent
                self._stop.set()
            except BaseException:
                self._stop.set()  # what other workers have under way is still received and kept
                raise

    def end(self) -> None:
        """Says what ended the run, if it was not the end of the captions.

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
        self._listener.failed(caption, str(failure))

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
