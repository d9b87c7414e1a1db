"""How an endpoint is reached. Neither key nor address of the environment is repeated by what is said here."""

from __future__ import annotations

import os
from http.cookiejar import CookieJar
from typing import Any
from urllib.parse import urlsplit

from cache.errors import UserError
from stages.describe.config import DescriptionConfig, Endpoint

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

    from stages.describe.engines.bounded import ACCEPTED, bounded

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
