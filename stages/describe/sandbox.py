"""Jinja2 templates that nobody vouches for: without access to Python, and bounded in time, numbers and letters."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from types import FrameType
from typing import Any

from jinja2 import StrictUndefined, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

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
