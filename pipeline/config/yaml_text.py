"""YAML that people write, checked before it is read: nesting and aliases are bounded.

libyaml's composer calls itself for every level and ends the process at some 10,000; aliases of aliases expand to more
than any memory holds once somebody copies them. Both are told from the parser's events, which need no stack; files
that cannot be so are known by their characters, so that ordinary ones are not parsed twice.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from cache.errors import UserError
from pipeline.formats.text import PER_MEDIUM, read_text

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's reads a long `params.yaml` ten times as fast as the one in Python; both give plain values only."""
MOST_DEEP = 100
MOST_EXPANDED = 1_000_000
"""Values that the aliases of a file may stand for, all together."""

_INDENT = re.compile(r"^[ \t?:\-]*", re.MULTILINE)


def read_yaml_text(path: Path) -> str:
    """The text of a YAML file that can be read without harm.

    Raises:
        UserError: it cannot be read, is no text in Unicode, or is nested too deeply.
    """
    text = read_text(path, "file", PER_MEDIUM).text
    check_yaml(text, path)
    return text


def load_yaml(path: Path) -> Any:
    """The plain values of a YAML file.

    Raises:
        UserError: see `read_yaml_text`; or it is no YAML.
    """
    text = read_yaml_text(path)
    try:
        return yaml.load(text, Loader=LOADER)
    except yaml.YAMLError as error:
        raise UserError(f"{path} is no valid YAML: {' '.join(str(error).split())}") from None
    except (ValueError, RecursionError, OverflowError) as error:  # a date of month 13, a number of 5,000 digits
        raise UserError(f"{path} is no valid YAML: a value cannot be read ({error}).") from None


def check_yaml(text: str, path: Path) -> None:
    """Refuses a text that is nested too deeply, or whose aliases stand for too much.

    Raises:
        UserError: it is such a text.
    """
    brackets = text.count("[") + text.count("{")
    deep = brackets + max((len(found[0]) for found in _INDENT.finditer(text)), default=0) > MOST_DEEP
    if deep or ("&" in text and "*" in text):
        try:
            _check_events(text, path)
        except yaml.YAMLError as error:
            raise UserError(f"{path} is no valid YAML: {' '.join(str(error).split())}") from None


def _check_events(text: str, path: Path) -> None:
    sizes: dict[str, int] = {}  # values that each anchor stands for
    open_: list[tuple[str | None, int]] = []  # anchor of each open collection, and values before it
    n = expanded = 0
    for event in yaml.parse(text, Loader=LOADER):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                line = event.start_mark.line + 1
                raise UserError(f"{path} line {line}: *{event.anchor} stands within itself or for nothing.")
            n += sizes[event.anchor]
            expanded += sizes[event.anchor]
            if expanded > MOST_EXPANDED:
                raise UserError(
                    f"{path} has aliases (*) that stand for more than {MOST_EXPANDED:,} values: write less."
                )
        elif isinstance(event, yaml.CollectionStartEvent):
            open_.append((event.anchor, n))
            n += 1
            if len(open_) > MOST_DEEP:
                line = event.start_mark.line + 1
                raise UserError(f"{path} is nested more than {MOST_DEEP} levels deep (line {line}): write it flatter.")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_.pop()
            if anchor is not None:
                sizes[anchor] = n - before
        elif isinstance(event, yaml.ScalarEvent):
            n += 1
            if event.anchor is not None:
                sizes[event.anchor] = 1
