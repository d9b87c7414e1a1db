"""The questions of a description: what is asked of each caption, what the store has of it, and asking for the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from cache.answers import Answer, AnswerStore
from cache.errors import UserError
from cache.location import Store
from pipeline.checkpoints.fingerprints import fingerprint_of
from pipeline.console.text import counted, did_you_mean
from pipeline.monitor.progress import progress
from pipeline.runner.dask.cluster import Cluster
from stages.describe.config import DescriptionConfig
from stages.describe.engine import (
    LEVELS,
    Budget,
    BudgetSpent,
    Callbacks,
    Engine,
    Reply,
    Task,
    Unusable,
    estimated_input,
    estimated_tokens,
)
from stages.describe.prompts import question, read_examples, render

DESCRIPTION, RELEVANCY = "description", "relevancy"
UNASKED = "was not asked about"


def open_engine(config: DescriptionConfig, cluster: Cluster | None = None) -> Engine:
    """The engine that a description names; loads no model and opens no connection.

    Args:
        config: of the description.
        cluster: whose workers run a local model. An endpoint is asked by this process, which has the key and keeps to
            the endpoint's pace: more processes would not be answered sooner.
    """
    if config.engine == "openai":
        from stages.describe.endpoint import EndpointEngine

        return EndpointEngine(config)
    from stages.describe.local_model import LocalModel

    return LocalModel(config, cluster)


def described_captions(table: pl.DataFrame, config: DescriptionConfig, corpus: str) -> list[tuple[str, str]]:
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


@dataclass
class Answers:
    """What is known of the captions of one task.

    Attributes:
        answers: by caption text; usable or not.
        values: what the usable ones say, by caption text.
        reasons: why there is no usable answer, by caption text.
        n_found: captions answered before this run.
        n_new: captions that this run got a usable answer to.
        spent: which budget ended the run; empty if none did.
    """

    answers: dict[str, Answer] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    n_found: int = 0
    n_new: int = 0
    spent: str = ""

    def add(self, task: Task, answer: Answer) -> bool:
        """Adds an answer; whether it can be used."""
        self.answers[answer.text] = answer
        try:
            self.values[answer.text] = task.value(answer)
        except Unusable as unusable:
            self.reasons[answer.text] = str(unusable)
            return False
        self.reasons.pop(answer.text, None)
        return True

    def may_improve(self, caption: str) -> bool:
        """Whether there is an answer, unusable, and the model did not refuse."""
        return caption not in self.values and caption in self.answers and self.answers[caption].finish != "refusal"


@dataclass
class Question:
    """One task of a description, asked of each caption.

    Attributes:
        task: what is asked.
        store: of its answers.
        known: answers known so far.
    """

    task: Task
    store: AnswerStore
    known: Answers


def tasks_of(config: DescriptionConfig) -> list[Task]:
    """What is asked of each caption."""
    tasks = [Task(DESCRIPTION, render(config.prompt, config.examples, LEVELS))]
    if config.relevancy_prompt is not None:
        tasks.append(Task(RELEVANCY, render(config.relevancy_prompt, config.examples, LEVELS), LEVELS))
    return tasks


def open_questions(config: DescriptionConfig, engine: Engine) -> list[Question]:
    """The tasks with their stores; an answer depends on prompt, model, decoding parameters, and nothing else."""
    _, model = fingerprint_of({"engine": engine.identity()})
    questions = []
    for task in tasks_of(config):
        identity: dict[str, Any] = {
            "task": task.name,
            "prompt": task.prompt,
            "model": model["engine"],
            "decoding": config.decoding,
        }
        questions.append(Question(task, AnswerStore(Store.default().answers, identity), Answers()))
    return questions


def look_up(
    asked: Question, captions: Sequence[str], previous: Callable[[], Mapping[str, Sequence[Answer]]]
) -> list[str]:
    """Fills `asked.known` from the store, and the store from the output in dvc.lock where it lacks answers.

    Args:
        asked: to fill.
        captions: distinct texts.
        previous: fetches the answers of that output, by fingerprint.

    Returns:
        Notes: damage that was found, how many answers came from dvc.lock.
    """
    store = asked.store
    stored = store.read()
    notes = []
    missing = {key: text for text in captions if (key := store.key(text)) not in stored}
    if missing:
        if store.damages:
            more = f" (and {len(store.damages) - 1} more)" if len(store.damages) > 1 else ""
            notes.append(f"{store.path}/{store.damages[0]}{more}")
        new = [answer for answer in previous().get(store.fingerprint, ()) if missing.get(answer.key) == answer.text]
        store.warm(new)
        stored |= {answer.key: answer for answer in new}
        if new:
            notes.append(f"{counted(len(new), 'answer')} from the table in dvc.lock")
    asked.known = Answers()
    for caption in captions:
        if (answer := stored.get(store.key(caption))) is not None:
            asked.known.add(asked.task, answer)
    asked.known.n_found = len(asked.known.answers)
    return notes


def estimated_cost(asked: Question, captions: Sequence[str], config: DescriptionConfig) -> tuple[int, int]:
    """(input, output) tokens of asking about captions; an output is as long as the mean of those known, or examples."""
    n_input = sum(estimated_input(asked.task.prompt, question(text)) for text in captions)
    lengths = [answer.output_tokens for answer in asked.known.answers.values()]
    if not lengths:
        values = asked.task.choices or [pair["audio"] for pair in read_examples(config.examples)]
        lengths = [estimated_tokens(f'{{"{asked.task.name}": "{value}"}}') for value in values]
    return n_input, round(sum(lengths) / len(lengths) * len(captions))


def ask_missing(
    asked: Question,
    captions: Sequence[str],
    engine: Engine,
    budget: Budget,
    *,
    label: str,
    tries: int = 1,
    again: bool = False,
) -> None:
    """Asks about the captions without an answer, each once, and once more each whose new answer cannot be used.

    Each answer is stored before the next is waited for.

    Args:
        asked: as `look_up` filled it; extended.
        captions: distinct texts.
        engine: the model.
        budget: what may be spent.
        label: for the progress bar.
        tries: how often a caption is asked about whose answers cannot be used, refusals excepted.
        again: also ask about captions whose stored answer cannot be used.

    Raises:
        UserError: the engine cannot be used, or the store not written.
    """
    task, store, known = asked.task, asked.store, asked.known
    todo = [text for text in captions if text not in known.answers or (again and text not in known.values)]
    with progress(label, len(todo), "captions") as advance:
        waiting = set(todo)

        def done(caption: str) -> None:
            if caption in waiting:
                waiting.remove(caption)
                advance()

        def answered(caption: str, reply: Reply) -> None:
            counts = reply.input_tokens, reply.output_tokens
            answer = Answer(store.key(caption), caption, reply.text, reply.finish, reply.model, *counts)
            store.add([answer])
            known.n_new += known.add(task, answer)
            done(caption)

        def failed(caption: str, reason: str) -> None:
            known.reasons[caption] = reason
            done(caption)

        for _ in range(tries):
            if not todo or known.spent:
                break
            try:
                engine.ask(task, todo, budget, Callbacks(answered, failed))
            except BudgetSpent as spent:
                known.spent = str(spent)
            todo = [text for text in todo if known.may_improve(text)]
    for caption in captions:
        if caption not in known.values:
            known.reasons.setdefault(caption, f"{UNASKED}: {known.spent}")
