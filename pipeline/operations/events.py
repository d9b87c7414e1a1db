"""What happens in a run, told from wherever it happens; `pipeline.operations.log` writes it down."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

logger = logging.getLogger("hearonce.run")
logger.propagate = False
logger.setLevel(logging.INFO)
logger.addHandler(logging.NullHandler())

counters: list[Callable[[], Mapping[str, Any]]] = []
"""Give what the end of the log says of the run, whatever the end will be."""


def event(name: str, level: int = logging.INFO, **facts: Any) -> None:
    """Tells of something.

    Args:
        name: `plan`, `commit`, `problem`, ...
        level: of `logging`.
        facts: what JSON can hold, or whatever has a text.
    """
    logger.log(level, name, extra={"facts": facts})
