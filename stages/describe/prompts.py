"""Prompts: Jinja2 files of `configs/prompts/`, rendered without any caption, which is sent apart as quoted data."""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import FrameType
from typing import Any

from jinja2 import StrictUndefined, TemplateError, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from cache.errors import UserError
from pipeline.console.text import did_you_mean
from stages.describe.config import PROMPTS

SUFFIX = ".jinja2"
COLUMNS = ("visual", "audio")


def quoted(value: str | Mapping[str, str]) -> str:
    """A text, or texts by name, as JSON on one line, in which nothing can pass for a special token of a chat template.

    A caption may hold `</s>`, `<|im_end|>` or `[INST]`. Its angle and square brackets become JSON escapes, in which a
    tokenizer sees no special token, and a model still reads what they are.
    """
    if not isinstance(value, str):
        return "{" + ", ".join(f"{quoted(name)}: {quoted(one)}" for name, one in value.items()) + "}"
    text = json.dumps(value, ensure_ascii=False)
    for sign in "<>[]\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def question(caption: str) -> str:
    """What is sent of a caption: one line of JSON, which cannot end early however the caption reads."""
    return quoted({"caption": caption})


def read_examples(name: str) -> list[dict[str, str]]:
    """Pairs of a visual label and an audio description.

    Args:
        name: CSV file of `configs/prompts/`, without suffix.

    Raises:
        UserError: the file is missing or unreadable, lacks a column, or has an empty field.
    """
    path = PROMPTS / f"{name}.csv"
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or [])]
            if missing:
                raise UserError(f"{path} has no column {missing[0]!r}: give it a first line `visual,audio`.")
            pairs = []
            for number, row in enumerate(reader, 2):
                pair = {name: (row[name] or "").strip() for name in COLUMNS}
                if not all(pair.values()):
                    raise UserError(f"{path}, line {number}: an example needs both a visual label and a description.")
                pairs.append(pair)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as CSV ({error}): it holds pairs `visual,audio`.") from None
    if not pairs:
        raise UserError(f"{path} holds no example: add lines `visual,audio`.")
    return pairs


def render(name: str, examples: str, levels: Sequence[str]) -> str:
    """The instruction that a prompt file gives.

    Args:
        name: file of `configs/prompts/`, without suffix.
        examples: name of the CSV of pairs; read if the file mentions `examples`.
        levels: of relevancy.

    Raises:
        UserError: no such file, or Jinja2 does not understand or does not allow what it does.
    """
    path = PROMPTS / f"{name}{SUFFIX}"
    if not path.is_file():
        known = [one.stem for one in PROMPTS.glob(f"*{SUFFIX}")]
        raise UserError(f"No prompt {name!r} ({path} is missing): {did_you_mean(name, known)}")
    try:
        source = path.read_text(encoding="utf-8")
        pairs = read_examples(examples) if "examples" in source else []
        return rendered(source, {"quoted": quoted}, examples=pairs, levels=list(levels)).strip()
    except (TemplateError, ValueError, TypeError, ArithmeticError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        where = f"{path}, line {line}," if line else f"{path}"
        raise UserError(f"{where} cannot be rendered: {' '.join(str(error).split())}.") from None


MOST_LETTERS = 1_000_000
"""Of the result, and of each text and list on the way."""
MOST_SECONDS = 5.0
_MANY = "the result has more than a million letters"


def rendered(source: str, filters: Mapping[str, Callable[..., Any]], **values: Any) -> str:
    """What a template gives.

    Args:
        source: of the template.
        filters: further ones, by name.
        values: that it may name.

    Raises:
        jinja2.TemplateError: it is wrong, does what is not allowed, or takes too long.
    """
    environment = _Environment(undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(filters)
    environment.filters = {name: _bounded(one) for name, one in environment.filters.items()}
    before, until = sys.gettrace(), time.process_time() + MOST_SECONDS

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        """Called before each line of the template: a loop that gives nothing is found by nothing else."""
        if time.process_time() > until:
            raise SecurityError(f"it takes more than {MOST_SECONDS:g} s")
        return trace if frame.f_code.co_filename == "<template>" else None

    template = environment.from_string(source)
    parts, letters = [], 0
    sys.settrace(trace)
    try:
        for part in template.generate(**values):
            letters += len(part)
            if letters > MOST_LETTERS:
                raise SecurityError(_MANY)
            parts.append(part)
    finally:
        sys.settrace(before)
    return "".join(parts)


def joined(parts: Iterable[Any]) -> str:
    """The texts one after another: what `~` and `{% set %}...{% endset %}` make."""
    texts = [str(one) for one in parts]
    if sum(map(len, texts)) > MOST_LETTERS:
        raise SecurityError(_MANY)
    return "".join(texts)


class _Generator(CodeGenerator):
    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.concat((")
        for one in node.nodes:
            self.visit(one, frame)
            self.write(", ")
        self.write("))")


class _Environment(ImmutableSandboxedEnvironment):
    code_generator_class = _Generator
    concat = staticmethod(joined)
    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" and _size(left) * _number(right) > 10_000:
            raise SecurityError("it raises to a power that is too large")
        if operator == "*" and (
            _long(left) * _number(right) > MOST_LETTERS or _long(right) * _number(left) > MOST_LETTERS
        ):
            raise SecurityError(_MANY)
        if operator == "%" and isinstance(left, str):
            raise SecurityError("it formats by `%`: write `{{ value }}`")
        return _checked(super().call_binop(context, operator, left, right))

    def call(__self, __context: Any, __object: Any, *args: Any, **kwargs: Any) -> Any:
        owner = getattr(__object, "__self__", None)
        if isinstance(owner, str | bytes | list | tuple):
            if getattr(__object, "__name__", "") in ("format", "format_map"):
                raise SecurityError("it calls `format`: write `{{ value }}`")
            _check_arguments((owner, *args, *kwargs.values()))
        return _checked(super().call(__context, __object, *args, **kwargs))


def _bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that takes no large number, and nothing whose lengths multiplied are too large."""

    def call(*args: Any, **kwargs: Any) -> Any:
        _check_arguments((*args, *kwargs.values()))
        return _checked(function(*args, **kwargs))

    vars(call).update(getattr(function, "__dict__", {}))  # such as: it wants the environment first
    return call


def _check_arguments(values: Iterable[Any]) -> None:
    product = 1
    for value in values:
        if _number(value) > 10_000:
            raise SecurityError("it hands on a number beyond 10000")
        product *= max(1, _long(value))
    if product > 100 * MOST_LETTERS:
        raise SecurityError(_MANY)


def _checked(value: Any) -> Any:
    if _long(value) > MOST_LETTERS:
        raise SecurityError(_MANY)
    return value


def _long(value: Any) -> int:
    return len(value) if isinstance(value, str | bytes | list | tuple | dict | range) else 0


def _number(value: Any) -> float:
    return abs(value) if isinstance(value, int | float) else 0


def _size(value: Any) -> int:
    return value.bit_length() if isinstance(value, int) else 1
