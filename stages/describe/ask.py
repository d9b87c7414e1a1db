"""Asks a model what the store has no answer to, and keeps each answer as it arrives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cache.answers import Answer, AnswerStore
from pipeline.monitor.progress import progress
from stages.describe.engine import Budget, BudgetSpent, Engine, Listener, Reply, Task, Unusable

UNASKED = "was not asked about"


@dataclass
class Asked:
    """What is known of the captions of one task.

    Attributes:
        answers: by caption text; usable or not.
        values: what the usable ones say, by caption text.
        reasons: why there is no usable answer, by caption text.
        n_found: captions answered before this run.
        n_new: captions that this run got a usable answer to.
        spent: says which budget ended the run; empty if none did.
    """

    answers: dict[str, Answer] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    n_found: int = 0
    n_new: int = 0
    spent: str = ""

    def take(self, task: Task, answer: Answer) -> bool:
        """Notes an answer; whether it can be used."""
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


def known(task: Task, captions: Sequence[str], store: AnswerStore, kept: Mapping[str, Answer]) -> Asked:
    """What the store's answers say of captions."""
    asked = Asked()
    for caption in captions:
        answer = kept.get(store.key(caption))
        if answer is not None:
            asked.take(task, answer)
    asked.n_found = len(asked.answers)
    return asked


def ask_missing(
    task: Task,
    captions: Sequence[str],
    asked: Asked,
    store: AnswerStore,
    engine: Engine,
    budget: Budget,
    *,
    label: str,
    tries: int = 1,
    again: bool = False,
) -> None:
    """Asks about the captions without an answer, each once, and once more each whose new answer cannot be used.

    Args:
        task: what is asked.
        captions: distinct texts.
        asked: what `known` found; extended.
        store: where answers are kept, each before the next is waited for.
        engine: who answers.
        budget: what may be spent.
        label: for the progress bar.
        tries: how often a caption is asked about whose answers cannot be used, refusals excepted.
        again: also ask about captions whose kept answer cannot be used.

    Raises:
        UserError: the engine cannot be used, or the store not written.
    """
    todo = [one for one in captions if one not in asked.answers or (again and one not in asked.values)]
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
            asked.n_new += asked.take(task, answer)
            done(caption)

        def failed(caption: str, reason: str) -> None:
            asked.reasons[caption] = reason
            done(caption)

        for _ in range(tries):
            if not todo or asked.spent:
                break
            try:
                engine.ask(task, todo, budget, Listener(answered, failed))
            except BudgetSpent as spent:
                asked.spent = str(spent)
            todo = [one for one in todo if asked.may_improve(one)]
    for caption in captions:
        if caption not in asked.values:
            asked.reasons.setdefault(caption, f"{UNASKED}: {asked.spent}")
