"""One description of one corpus: its captions, its tasks, and what the store knows of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from cache.answers import Answer, AnswerStore
from cache.errors import UserError
from cache.location import Store
from pipeline.checkpoints.fingerprints import fingerprint_of
from pipeline.console.text import counted, did_you_mean
from stages.describe.ask import Asked, known
from stages.describe.config import DescriptionConfig
from stages.describe.engine import LEVELS, Engine, Task, estimated_input, estimated_tokens
from stages.describe.prompts import question, read_examples, render

DESCRIPTION, RELEVANCY = "description", "relevancy"


@dataclass
class Part:
    """One task of a description.

    Attributes:
        task: what is asked.
        store: of its answers.
        asked: what is known so far.
    """

    task: Task
    store: AnswerStore
    asked: Asked


def tasks_of(config: DescriptionConfig) -> list[Task]:
    """What is asked of each caption."""
    tasks = [Task(DESCRIPTION, render(config.prompt, config.examples, LEVELS))]
    if config.relevancy_prompt is not None:
        tasks.append(Task(RELEVANCY, render(config.relevancy_prompt, config.examples, LEVELS), LEVELS))
    return tasks


def captions_of(table: pl.DataFrame, config: DescriptionConfig, corpus: str) -> list[tuple[str, str]]:
    """(id, text) of the captions that are described.

    Raises:
        UserError: the corpus has no such caption source, or several and none was chosen.
    """
    sources = table["source"].unique(maintain_order=True).to_list()
    chosen = config.captions or ("visual" if "visual" in sources else sources[0] if len(sources) == 1 else None)
    if chosen is None and sources:
        raise UserError(
            f"Corpus {corpus!r} has caption sources {', '.join(sources)}: say `captions:` which to describe."
        )
    if chosen not in sources and sources:
        raise UserError(f"Corpus {corpus!r} has no caption source {chosen!r}: {did_you_mean(str(chosen), sources)}")
    return list(table.filter(pl.col("source") == chosen).select("caption_id", "text").iter_rows())


def open_parts(config: DescriptionConfig, engine: Engine) -> list[Part]:
    """The tasks with their stores; an answer depends on prompt, model, decoding parameters, and nothing else."""
    _, model = fingerprint_of({"engine": engine.identity()})
    parts = []
    for task in tasks_of(config):
        identity: dict[str, Any] = {
            "task": task.name,
            "prompt": task.prompt,
            "model": model["engine"],
            "decoding": config.decoding,
        }
        parts.append(Part(task, AnswerStore(Store.default().answers, identity), Asked()))
    return parts


def look_up(part: Part, texts: Sequence[str], before: Callable[[], Mapping[str, Sequence[Answer]]]) -> list[str]:
    """Fills `part.asked` from the store, and the store from a colleague's answers where it lacks any.

    Args:
        part: to fill.
        texts: wanted, distinct.
        before: fetches the answers of the last output, by fingerprint.

    Returns:
        Remarks: damage that was met, how many answers a colleague had.
    """
    kept = part.store.read()
    remarks = []
    missing = {key: text for text in texts if (key := part.store.key(text)) not in kept}
    if missing:
        if part.store.damages:
            more = f" (and {len(part.store.damages) - 1} more)" if len(part.store.damages) > 1 else ""
            remarks.append(f"{part.store.path}/{part.store.damages[0]}{more}")
        new = [one for one in before().get(part.store.fingerprint, ()) if missing.get(one.key) == one.text]
        part.store.warm(new)
        kept |= {one.key: one for one in new}
        if new:
            remarks.append(f"{counted(len(new), 'answer')} from the table in dvc.lock")
    part.asked = known(part.task, texts, part.store, kept)
    return remarks


def estimated(part: Part, texts: Sequence[str], config: DescriptionConfig) -> tuple[int, int]:
    """(input, output) tokens of asking about texts; outputs are taken for the mean of those known, or the examples'."""
    sent = sum(estimated_input(part.task.prompt, question(text)) for text in texts)
    had = [answer.output_tokens for answer in part.asked.answers.values()]
    if not had:
        words = part.task.choices or [pair["audio"] for pair in read_examples(config.examples)]
        had = [estimated_tokens(f'{{"{part.task.name}": "{one}"}}') for one in words]
    return sent, round(sum(had) / len(had) * len(texts))
