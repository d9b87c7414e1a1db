"""Records of configuration: a YAML file is read and checked against one, and what is wrong is said in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from cache.errors import UserError
from pipeline.config.yaml_text import load_yaml
from pipeline.console.text import did_you_mean


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
