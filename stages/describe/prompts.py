"""Prompts: Jinja2 files of `configs/prompts/`, rendered without any caption, which travels apart as quoted data."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence

from jinja2 import TemplateError

from cache.errors import UserError
from pipeline.suggest import did_you_mean
from stages.describe.config import PROMPTS
from stages.describe.sandbox import rendered

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
    """Pairs of a visual label and what one would hear.

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
