"""One request and its answer; whatever an endpoint does instead of answering becomes a `NoAnswer`."""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
import unicodedata
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2 as httpx
import openai

from stages.describe.config import DescriptionConfig
from stages.describe.engine import Reply, Task


class NoAnswer(Exception):
    """Why a request was not answered. Holds no key, neither in its text nor in its chain.

    Attributes:
        again: it may be answered when sent again.
        final: no other request will be either.
        pause_s: seconds that the endpoint asks to wait.
        without_schema: it may be answered when sent without a JSON schema.
        of_caption: it lies in the caption, and says nothing of other requests.
        lost: the endpoint may have answered, and counted tokens, but the answer was lost on the network.
    """

    def __init__(
        self,
        reason: str,
        *,
        again: bool = False,
        final: bool = False,
        pause_s: float | None = None,
        without_schema: bool = False,
        of_caption: bool = False,
        lost: bool = False,
    ) -> None:
        super().__init__(reason)
        self.again, self.final, self.pause_s = again, final, pause_s
        self.without_schema, self.of_caption, self.lost = without_schema, of_caption, lost


class Rejected(NoAnswer):
    """The endpoint refuses the request: a wrong key, an unknown model, a parameter it does not know."""


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
            reason = str(cause) if isinstance(cause, TooLarge) else f"the connection failed ({cause})"
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
        message = self._clean(_message(error))
        reason = f"status {status}{f', {message}' if message else ''}"
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


MOST_BACKOFF_S = 60.0


def asked_pause(headers: Mapping[str, str]) -> float | None:
    """Seconds that `Retry-After` (seconds or a date) or `retry-after-ms` asks for; None if neither does.

    A date counts from the endpoint's own `Date`, if it says so: its clock need not be ours.
    """
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        if "retry-after" not in headers:
            return None
        value = headers["retry-after"].strip()
        if value.replace(".", "", 1).isdigit():
            return float(value)
        until = parsedate_to_datetime(value).timestamp()
        now = parsedate_to_datetime(headers["date"]).timestamp() if "date" in headers else time.time()
        return max(0.0, until - now)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


@dataclass
class Patience:
    """Waits of one run. A pause that the endpoint asks of one request holds for all.

    Attributes:
        backoff_s: before the second attempt; doubled for each further one.
        dice: draws the jitter, so that requests that failed together do not return together.
    """

    backoff_s: float
    dice: random.Random = field(default_factory=random.Random)
    _not_before: float = 0.0

    def wait_s(self, attempt: int, pause_s: float | None) -> float:
        """Seconds until a request that has failed `attempt` times is sent again."""
        if pause_s is not None:
            self._not_before = max(self._not_before, time.monotonic() + pause_s)
            return pause_s + self.dice.uniform(0.0, self.backoff_s)
        return self.dice.uniform(0.5, 1.0) * min(MOST_BACKOFF_S, self.backoff_s * 2 ** (attempt - 1))

    def pause_left_s(self) -> float:
        """Seconds until any request may be sent."""
        return max(0.0, self._not_before - time.monotonic())


ACCEPTED = "gzip, deflate"
"""What `bounded` can decompress step by step; an answer in another encoding is refused."""
_BLOCK = 1 << 16
_WINDOW = {"gzip": 31, "x-gzip": 31, "deflate": 15}


class TooLarge(httpx.DecodingError):
    """An answer is larger than it may be, or compressed in a way that cannot be bounded; the message is a clause."""


def bounded(most_bytes: int) -> Callable[[httpx.Response], Awaitable[None]]:
    """An event hook for `response` of an httpx client: reading a body of more than so many bytes raises `TooLarge`.

    The hook takes decompression over from httpx, which gives what one block becomes at once, a thousand times its size.
    """

    async def hook(response: httpx.Response) -> None:
        response.encoding = "utf-8"  # as JSON is; some encodings that a server may name are no texts in Python
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("", "identity", *_WINDOW):
            await response.aclose()
            raise TooLarge(f"the answer is compressed as {encoding[:40]!r}, which was not asked for")
        assert isinstance(response.stream, httpx.AsyncByteStream)
        if encoding in _WINDOW:
            del response.headers["content-encoding"]
        response.stream = _Bounded(response.stream, most_bytes, _WINDOW.get(encoding))

    return hook


class _Bounded(httpx.AsyncByteStream):
    """A body, decompressed if a window is given."""

    def __init__(self, stream: httpx.AsyncByteStream, most_bytes: int, window: int | None) -> None:
        self._stream, self._most, self._window = stream, most_bytes, window

    async def __aiter__(self) -> AsyncIterator[bytes]:
        arrived = given = 0
        unpack = zlib.decompressobj(self._window) if self._window else None
        async for block in self._stream:
            arrived += len(block)
            self._check(arrived)
            while block:
                piece = block
                if unpack is None:
                    block = b""
                else:
                    try:
                        piece = unpack.decompress(block, _BLOCK)
                    except zlib.error as error:
                        raise httpx.DecodingError(f"the compressed answer is damaged ({error})") from None
                    block = b"" if unpack.eof else unpack.unconsumed_tail
                given += len(piece)
                self._check(given)
                yield piece
        if unpack is not None and arrived and not unpack.eof:
            raise httpx.DecodingError("the compressed answer is cut short")

    async def aclose(self) -> None:
        await self._stream.aclose()

    def _check(self, nbytes: int) -> None:
        if nbytes > self._most:
            raise TooLarge(f"the answer has more than {self._most / 1e6:g} MB (`max_answer_mb` under `endpoint:`)")
