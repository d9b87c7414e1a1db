"""The log of a run: one file of JSON lines in the store, from which anything that went on can be read afterwards.

What happens in a run is logged by `pipeline.monitor.events.event`. A log that cannot be written stops no run.
"""

from __future__ import annotations

import functools
import inspect
import logging
import os
import platform
import re
import shlex
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from cache.errors import UserError
from cache.location import Store
from pipeline.console.text import visible_json
from pipeline.monitor.device import processors
from pipeline.monitor.events import counters, event, logger, without_secrets
from pipeline.monitor.problems import exit_code_of
from pipeline.monitor.run_metrics import peak_rss_bytes

LONGEST_NAME = 100
KEPT = 20
"""Logs of one stage on one corpus and encoder that are kept, the latest."""

P = ParamSpec("P")
R = TypeVar("R")


def logged(command: Callable[P, R]) -> Callable[P, R]:
    """Decorates the function of a stage: each of its runs has a log, named after its required arguments.

    A `dry_run` has none.
    """
    signature = inspect.signature(command)
    required = [name for name, parameter in signature.parameters.items() if parameter.default is parameter.empty]

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        arguments = bound.arguments
        if arguments.get("dry_run"):
            return command(*args, **kwargs)
        with _log(command.__name__, ".".join(str(arguments[name]) for name in required), arguments):
            return command(*args, **kwargs)

    return run


@contextmanager
def _log(stage: str, subject: str, options: Mapping[str, Any]) -> Iterator[None]:
    counters.clear()
    handler = _opened(stage, subject or "all")
    if handler is None:
        yield
        return
    logger.addHandler(handler)
    started = time.monotonic()
    event("start", stage=stage, subject=subject, **_circumstances(), options=options)
    error: BaseException | None = None
    try:
        yield
    except BaseException as raised:
        error = raised
        raise
    finally:
        level = logging.INFO if exit_code_of(error) == 0 else logging.ERROR
        event(
            "end",
            level,
            exit_code=exit_code_of(error),
            seconds=round(time.monotonic() - started, 3),
            peak_rss_bytes=peak_rss_bytes(),
            summaries=[counter() for counter in counters],
            **_error_facts(error),
        )
        logger.removeHandler(handler)
        handler.close()


def _opened(stage: str, subject: str) -> logging.Handler | None:
    """A new file for this run; the oldest of their kind are removed."""
    now = datetime.now(UTC)
    try:
        folder = Store.default().logs / stage / re.sub(r"[^\w.+-]", "_", without_secrets(subject))[:LONGEST_NAME]
        folder.mkdir(parents=True, exist_ok=True)
        for old in sorted(folder.glob("*.jsonl"))[: -(KEPT - 1)]:
            old.unlink(missing_ok=True)
        handler = _File(folder / f"{now:%Y%m%dT%H%M%S.%f}Z-{os.getpid()}.jsonl", encoding="utf-8")
    except (OSError, UserError):  # a full or read-only disk, a store that is not there: the stage will say so
        return None
    handler.setFormatter(_Json())
    return handler


class _File(logging.FileHandler):
    """Goes quiet when the disk refuses."""

    def handleError(self, record: logging.LogRecord) -> None:
        logger.removeHandler(self)

    def close(self) -> None:
        with suppress(OSError):
            super().close()


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {"at": at, "level": record.levelname.lower(), "event": record.getMessage()}
        line |= getattr(record, "facts", {})
        return visible_json({name: _plain(value) for name, value in line.items()}, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return without_secrets(str(value))


def _circumstances() -> dict[str, Any]:
    versions = {"python": platform.python_version(), "hearonce": version("hearonce"), "torch": version("torch")}
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "versions": versions,
        "commit": _commit(),
        "machine": platform.node(),
        "processors": processors(),
        "pid": os.getpid(),
        "folder": Path.cwd(),
        "store": Store.default().root,
    }


def _commit() -> str | None:
    """The project's commit; None where there is no git."""
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()


def _error_facts(error: BaseException | None) -> dict[str, Any]:
    if error is None or isinstance(error, SystemExit):
        return {}
    if isinstance(error, UserError):
        return {"error": error}
    if isinstance(error, KeyboardInterrupt):
        return {"error": "interrupted"}
    lines = traceback.format_exception(error)
    return {"error": f"{type(error).__name__}: {error}", "traceback": "".join(lines)}
