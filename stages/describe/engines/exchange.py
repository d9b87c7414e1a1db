"""One request and its answer; whatever an endpoint does instead of answering becomes a `NoAnswer`."""

from __future__ import annotations

import asyncio
import json
import re
import unicodedata
from typing import Any

import openai

from stages.describe.config import DescriptionConfig
from stages.describe.engine import Reply
from stages.describe.engines.bounded import TooMuch
from stages.describe.engines.no_answer import NoAnswer, Rejected
from stages.describe.engines.patience import asked_pause
from stages.describe.tasks import Task

TRANSIENT = {408, 409, 425, 429}
HIDDEN = "[key]"
MOST_TOKENS = 1 << 31
NEVER_SENT = {"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol"}
"""What httpx raises where no connection was made."""


class Exchange:
    """Sends requests.

    Args:
        client: `openai.AsyncOpenAI`, which must not retry by itself.
        config: model, decoding, time-out.
        secret: the key; kept out of every text that leaves here.
        with_schema: constrain answers by a JSON schema.

    Attributes:
        name: the endpoint, for sentences.
        with_schema: as given, until the endpoint refuses it.
    """

    def __init__(self, client: Any, config: DescriptionConfig, secret: str, with_schema: bool) -> None:
        self._client, self._config = client, config
        self.with_schema, self._settled = with_schema, False  # settled: an answer has come, with a schema or without
        self._secret = _however_written(secret) if secret else None
        self.name = f"{str(client.base_url).rstrip('/')} (model {config.model!r})"

    async def reply(self, task: Task, question: str) -> Reply:
        """Asks once.

        Raises:
            NoAnswer: see there.
        """
        with_schema = self.with_schema
        try:
            body = await asyncio.wait_for(self._send(task, question, with_schema), self._config.endpoint.timeout_s)
        except openai.APIStatusError as error:
            failure = self._refused(error, with_schema)
        except (TimeoutError, openai.APITimeoutError):
            failure = NoAnswer(f"no answer within {self._config.endpoint.timeout_s:g} s", again=True, lost=True)
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            reason = str(cause) if isinstance(cause, TooMuch) else f"the connection failed ({cause})"
            reason = "the answer is nested too deeply" if isinstance(cause, RecursionError) else reason
            failure = NoAnswer(self._clean(reason), again=True, lost=type(cause).__name__ not in NEVER_SENT)
        except (openai.OpenAIError, ValueError) as error:
            reason = self._clean(f"the answer cannot be understood ({error})")
            failure = NoAnswer(reason, again=True, lost=True)
        else:
            reply = self._understood(body)
            if isinstance(reply, Reply):
                self._settled = True
                return reply
            failure = reply
        raise failure from None

    async def _send(self, task: Task, question: str, with_schema: bool) -> str:
        extra = dict(self._config.decoding)
        if with_schema:
            schema = {"name": task.name, "strict": True, "schema": task.schema}
            extra["response_format"] = {"type": "json_schema", "json_schema": schema}  # type: ignore[assignment]
        messages = [{"role": "system", "content": task.prompt}, {"role": "user", "content": question}]
        raw = await self._client.chat.completions.with_raw_response.create(
            model=self._config.model, messages=messages, extra_body=extra
        )
        return raw.text

    def _refused(self, error: openai.APIStatusError, with_schema: bool) -> NoAnswer:
        status = error.status_code
        said = self._clean(_message(error))
        reason = f"status {status}{f', {said}' if said else ''}"
        code = error.body.get("code") if isinstance(error.body, dict) else None
        if code == "content_filter":
            return NoAnswer(f"the endpoint's content filter refuses the caption ({reason})", of_caption=True)
        if code == "insufficient_quota":
            return NoAnswer(reason, final=True)
        if status in TRANSIENT or status >= 500:
            return NoAnswer(reason, again=True, pause_s=asked_pause(error.response.headers))
        if status in (400, 422) and not self._settled:
            self.with_schema = not with_schema  # refused without a schema as well: it was not the schema
            if with_schema:
                return NoAnswer(reason, without_schema=True)
        return Rejected(reason, final=status in (401, 403, 404))

    def _understood(self, body: str) -> Reply | NoAnswer:
        try:
            answer = json.loads(body.removeprefix("\ufeff"))
            choice = answer["choices"][0]
            message, usage = choice["message"], answer.get("usage")
            refusal, content = message.get("refusal"), message.get("content")
            if not isinstance(refusal or content or "", str):
                raise TypeError("no text")
            return Reply(
                text=self._clean(refusal or content or "", None),
                finish="refusal" if refusal else self._clean(str(choice.get("finish_reason") or "stop")),
                model=self._clean(str(answer.get("model") or self._config.model)),
                input_tokens=_count(usage, "prompt_tokens"),
                output_tokens=_count(usage, "completion_tokens"),
            )
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            return NoAnswer(f"the answer is no chat completion: {self._clean(body)!r}", again=True, lost=True)

    def _clean(self, text: str, most: int | None = 200) -> str:
        """Text from outside without the key, also where it is written in JSON's escapes, and without half characters.

        On one line, without control characters and cut short, unless `most` is None.
        """
        if self._secret:
            text = self._secret.sub(HIDDEN, text)
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if most is None:
            return text
        text = text[: 100 * most]
        text = "".join(one if unicodedata.category(one) != "Cc" else "\ufffd" for one in " ".join(text.split()))
        return text if len(text) <= most else f"{text[: most - 3]}..."


def _however_written(secret: str) -> re.Pattern[str]:
    """Finds a secret also where its letters are escaped, in time that grows with the text alone.

    No backslash is taken back (`*+`), and a match begins at the first of several, so that none is looked at twice.
    """
    letters = re.findall(r"\\+|[^\\]", secret)  # several backslashes are found as any number of them
    return re.compile(r"(?<!\\)" + "".join(map(_ways_to_write, letters)))


def _ways_to_write(letter: str) -> str:
    code = rf"\\++u00(?i:{ord(letter[0]):02x})"
    return rf"(?:(?:{code})+|\\++)" if letter[0] == "\\" else rf"(?:{code}|\\*+{re.escape(letter)})"


def _count(usage: Any, name: str) -> int:
    """Tokens that an endpoint says it has counted; 0 if it says nothing that could be a count."""
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and 0 <= value < MOST_TOKENS else 0


def _message(error: openai.APIStatusError) -> str:
    body = error.body
    if isinstance(body, dict):
        body = body.get("message") or body.get("error")
    try:
        return str(body or "")
    except RecursionError:  # nested as deeply as JSON may be read, but not written
        return "an error nested too deeply to show"
