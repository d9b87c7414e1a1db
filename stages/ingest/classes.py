"""The classes of clips, written as captions and pairs: their names, and what prompt templates make of these."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pipeline.config.classes import LABELS, caption_id, filled, prompted_id, read_prompts, source_of, text_of
from pipeline.config.corpus import ClassSettings
from pipeline.formats.text import fault_of_caption
from stages.ingest.annotations import Annotations, Caption


def add_classes(
    annotations: Annotations,
    of_clip: Mapping[str, Sequence[str]],
    settings: ClassSettings | None,
    order: Sequence[str] = (),
) -> None:
    """Adds the texts of all classes, and which clips are of which class.

    Args:
        annotations: changed in place.
        of_clip: clip id -> names of its classes.
        settings: which templates; None for the names alone.
        order: of the classes, as far as there is one; others follow as they come.

    Raises:
        UserError: a file of templates cannot be used.
    """
    names = list(dict.fromkeys([*order, *(name for own in of_clip.values() for name in own)]))
    annotations.captions += class_captions(names, settings)
    annotations.pairs += [(clip, caption_id(name)) for clip, own in of_clip.items() for name in dict.fromkeys(own)]
    alike: dict[str, str] = {}
    for name in names:
        if (first := alike.setdefault(text_of(name), name)) != name:
            annotations.notes.append(f"classes {first!r} and {name!r} are the same text {text_of(name)!r}")


def class_captions(names: Sequence[str], settings: ClassSettings | None) -> Iterable[Caption]:
    """The captions of these classes, source by source and template by template.

    Raises:
        UserError: a file of templates cannot be used.
    """
    yield from (Caption(caption_id(name), text_of(name), LABELS) for name in names)
    for prompts in dict.fromkeys(settings.prompts if settings else ()):
        for number, template in enumerate(read_prompts(prompts)):
            for name in names:
                yield Caption(prompted_id(prompts, number, name), filled(template, name), source_of(prompts))


def fault_of_class(cell: str) -> str:
    """Why the cell of an official file is no name of a class; empty if it is one."""
    reason = fault_of_caption(cell) or ("" if text_of(cell) else "it is empty")
    return f"{cell[:40]!r} is no name of a class: {reason}" if reason else ""
