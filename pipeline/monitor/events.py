"""Events of a run, logged from wherever they happen; `pipeline.monitor.log` writes them down."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

logger = logging.getLogger("hearonce.run")
logger.propagate = False
logger.setLevel(logging.INFO)
logger.addHandler(logging.NullHandler())

counters: list[Callable[[], Mapping[str, Any]]] = []
"""Give what the end of the log says of the run, whatever the end will be."""

SECRET_NAMES = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL")
SHORTEST_SECRET = 8
"""A shorter value would be found in many places where it is no secret."""
_HTTP = re.compile(r"(https?://)(?:[^\s/'\"]*@)?([^\s?#'\"<>]*)[?#]?[^\s'\"<>)]*", re.IGNORECASE)
_USER = re.compile(r"(?<=[A-Za-z0-9+.-])(://)[^\s/'\"]*@")  # matches letters that end a scheme, not all of it


def event(name: str, level: int = logging.INFO, **facts: Any) -> None:
    """Logs an event.

    Args:
        name: `plan`, `commit`, `problem`, ...
        level: of `logging`.
        facts: what JSON can hold, or whatever has a text.
    """
    logger.log(level, name, extra={"facts": facts})


def without_secrets(text: str) -> str:
    """The text with variables in place of their values, and URLs without query (those of web servers) and password."""
    for name, value in os.environ.items():
        if len(value) >= SHORTEST_SECRET and value in text and any(word in name.upper() for word in SECRET_NAMES):
            text = text.replace(value, f"${name}")
    return _USER.sub(r"\1", _HTTP.sub(r"\1\2", text))
