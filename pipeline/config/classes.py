"""Classes of clips as captions: the caption sources of their texts, and prompt templates (`configs/class-prompts/`).

The name of a class is a caption of the source `labels`, paired with the clips of the class. A file of templates NAME
makes the caption source `labels@NAME`: a caption for each template and class, which are paired with no clip. Ids say
which class a caption is of.
"""

from __future__ import annotations

from collections.abc import Sequence

from cache.errors import UserError
from pipeline.config.records import CONFIGS
from pipeline.console.text import did_you_mean
from pipeline.formats.text import PER_MEDIUM, fault_of_caption, read_text

FOLDER = CONFIGS / "class-prompts"
LABELS = "labels"
"""Caption source of the names of classes."""
HOLE = "{}"
"""Stands in a template for the name of the class."""
FOLD = "fold-"
"""How the names of subsets begin that are folds of a corpus."""


def source_of(prompts: str) -> str:
    """The caption source that a file of templates makes."""
    return f"{LABELS}@{prompts}"


def is_of_classes(source: str) -> bool:
    """Whether the captions of a source are texts of classes."""
    return source == LABELS or source.startswith(f"{LABELS}@")


def caption_id(name: str) -> str:
    """The id of the caption that is the name of a class."""
    return f"{LABELS}:{name}"


def prompted_id(prompts: str, number: int, name: str) -> str:
    """The id of the caption that a template makes of a class.

    Args:
        prompts: the file of templates.
        number: of the template, from 0.
        name: of the class.
    """
    return f"{source_of(prompts)}:{number}:{name}"


def class_of(caption: str, source: str) -> str:
    """The class that a caption of such a source is a text of, by the caption's id."""
    rest = caption.removeprefix(f"{source}:")
    return rest if source == LABELS else rest.partition(":")[2]


def text_of(name: str) -> str:
    """The name of a class as it is written in a text: published names have underscores for spaces."""
    return " ".join(name.replace("_", " ").split())


def filled(template: str, name: str) -> str:
    """A template with the name of a class."""
    return template.replace(HOLE, text_of(name))


def read_prompts(prompts: str) -> Sequence[str]:
    """The templates of `configs/class-prompts/NAME.txt`: one a line, `{}` for the class, comments behind `#`.

    Raises:
        UserError: there is no such file, it has no template, or a line is none.
    """
    path = FOLDER / f"{prompts}.txt"
    if not path.is_file():
        known = [one.stem for one in sorted(FOLDER.glob("*.txt"))]
        raise UserError(f"No class prompts {prompts!r} ({path} is missing): {did_you_mean(prompts, known)}")
    templates = []
    for number, line in enumerate(read_text(path, "file of class prompts", PER_MEDIUM).text.splitlines(), 1):
        template = line.strip()
        if not template or template.startswith("#"):
            continue
        reason = fault_of_caption(template) or ("" if HOLE in template else f"it has no {HOLE} for the class")
        if reason:
            raise UserError(f"{path} line {number} is no template: {reason}.")
        if template in templates:
            raise UserError(f"{path} line {number} repeats a template: remove it.")
        templates.append(template)
    if not templates:
        raise UserError(f"{path} has no template: write one a line, with {HOLE} where the class stands.")
    return templates
