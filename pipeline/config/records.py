"""Records of configuration: YAML of bounded nesting, checked against a record; what is wrong is one sentence."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from cache.errors import UserError
from pipeline.console.text import did_you_mean
from pipeline.formats.text import PER_MEDIUM, read_text


class Settings(BaseModel):
    """Base of all configuration records: frozen, and a key nobody knows is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def refuse_renamed(given: Any, renamed: Mapping[str, str]) -> Any:
    """What a record is made from, unless it has a key of an older version; for `model_validator(mode="before")`.

    Args:
        given: as the YAML file has it.
        renamed: old key -> new key.

    Raises:
        ValueError: a key is renamed.
    """
    if isinstance(given, Mapping):
        for old, new in renamed.items():
            if old in given:
                raise ValueError(f"`{old}` is renamed to `{new}`: run `hearonce migrate`")
    return given


MOST_SHOWN = 500
"""Characters of a wrong value that a message shows."""

T = TypeVar("T", bound=BaseModel)


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads a YAML mapping.

    Raises:
        UserError: unreadable, no YAML, or no mapping.
    """
    data = load_yaml(path)
    if not isinstance(data, dict):
        raise UserError(f"{path} must hold `key: value` lines, found {type(data).__name__}.")
    return data


def validate(data: dict[str, Any], model: type[T], path: Path) -> T:
    """Checks a mapping against a record.

    Raises:
        UserError: names the file, the key and what was meant or expected.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise UserError(_sentence(error, model, path)) from None


def load(path: Path, model: type[T]) -> T:
    """Reads and checks a YAML file; see `read_yaml` and `validate`."""
    return validate(read_yaml(path), model, path)


def _sentence(error: ValidationError, model: type[BaseModel], path: Path) -> str:
    parts = []
    for item in error.errors():
        place = ".".join(str(part) for part in item["loc"])
        if item["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            parts.append(f"unknown key {place!r}, {did_you_mean(str(item['loc'][-1]), _fields(model, item['loc']))}")
        elif item["type"] == "missing":
            parts.append(f"key {place!r} is missing.")
        elif item["type"] == "value_error":  # a check of ours, which says what is wrong; the value may be a secret
            parts.append(f"{place}: {item['ctx']['error']}." if place else f"{item['ctx']['error']}.")
        elif item["type"] in ("dict_type", "model_type") and item["input"] is None:
            parts.append(f"{place} is empty: write `{item['loc'][-1]}: {{}}`, or what belongs below it.")
        else:
            parts.append(f"{place}: {item['msg']} (found {shown_value(item['input'])}).")
    return f"{path}: {' '.join(parts)}"


def shown_value(value: Any) -> str:
    """A value for a message: as Python writes it, and not in full where it is long."""
    try:
        text = repr(value)
    except ValueError:  # a number of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= MOST_SHOWN else text[:MOST_SHOWN] + "…"


def _fields(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """Field names that are allowed where an unknown key stands."""
    current: Any = model
    for part in place[:-1]:
        if isinstance(current, type) and issubclass(current, BaseModel) and part in current.model_fields:
            current = current.model_fields[str(part)].annotation
        elif getattr(current, "__args__", None):
            current = current.__args__[-1]
    if is_dataclass(current):
        return [field.name for field in fields(current)]
    return list(current.model_fields) if isinstance(current, type) and issubclass(current, BaseModel) else []


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


CONFIGS = Path("configs")
KINDS = {
    "corpora": "corpus",
    "encoders": "encoder",
    "trainings": "training",
    "descriptions": "description",
    "clusters": "cluster",
}
BY_CORPUS = ("trainings",)
"""Kinds whose files lie in one folder per corpus."""


def named(kind: str, name: str) -> Path:
    """Path of `configs/<kind>/<name>.yaml`; trainings lie in one folder per corpus below.

    Raises:
        UserError: there is none; says what may have been meant.
    """
    folder = CONFIGS / kind
    if not CONFIGS.is_dir():
        raise UserError(f"{CONFIGS}/ is missing here ({Path.cwd()}): run in the top folder of the project.")
    if kind in BY_CORPUS:
        known = {path.stem: path for path in sorted(folder.glob("*/*.yaml"))}
    else:
        files = sorted(folder.rglob("*.yaml"))
        known = {path.relative_to(folder).with_suffix("").as_posix(): path for path in files}
    if name not in known:
        path = folder / ("CORPUS" if kind in BY_CORPUS else "") / f"{name}.yaml"
        raise UserError(f"No {KINDS[kind]} {name!r} ({path} is missing): {did_you_mean(name, known)}")
    return known[name]
