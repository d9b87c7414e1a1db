"""Engine `transformers`: a causal language model in this process, or in each worker of a cluster."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cache.errors import UserError
from pipeline.checkpoints.fingerprints import fingerprint_of
from pipeline.checkpoints.hub import TRANSFORMERS, local_folder, weight_files
from pipeline.monitor.problems import problem_of
from pipeline.runner.batches import MOST_IN_A_ROW
from pipeline.runner.dask.cluster import Cluster
from pipeline.runner.dask.worker import FilesDiffer, loaded_once
from pipeline.runner.run import NotComputed
from stages.describe.config import DescriptionConfig
from stages.describe.engine import Budget, BudgetSpent, Listener, Reply, Task, estimated_input
from stages.describe.engines.causal_model import REMEDY, CausalModel
from stages.describe.prompts import question

FILES = ("*.json", "*.model", "*.jinja", "merges.txt", "vocab.txt", "*.tiktoken")


class LocalModel:
    """Answers in batches, which are the unit in which answers arrive.

    Args:
        config: of the description.
        cluster: whose workers load the model and answer; this process by default.
    """

    def __init__(self, config: DescriptionConfig, cluster: Cluster | None = None) -> None:
        self._config, self._cluster = config, cluster
        self._folder = local_folder(config.model, FILES, REMEDY, TRANSFORMERS)
        self._model = CausalModel(config, self._folder)

    def identity(self) -> Mapping[str, Any]:
        """The bytes of weights, tokenizer and configuration: where the folder lies does not matter."""
        files = {path for pattern in FILES for path in self._folder.glob(pattern) if path.is_file()}
        index = {path for path in files if path.name.endswith(".index.json")}
        weights = weight_files(self._folder, TRANSFORMERS, REMEDY)
        return {"files": {path.name: path for path in sorted({*files, *weights} - index)}}

    def fingerprint(self) -> str:
        """Of the bytes of the model's files."""
        return fingerprint_of(self.identity())[0]

    def replies(self, task: Task, captions: Sequence[str]) -> list[Reply]:
        """Answers to one batch."""
        return self._model.replies(task, captions)

    def ask(self, task: Task, captions: Sequence[str], budget: Budget, listener: Listener) -> None:
        """See `Engine.ask`. The budget is taken before a batch is begun, also where several are begun at a time."""
        waiting = deque(sorted(self._fitting(task, captions, listener), key=len))
        reserved: dict[str, int] = {}
        spent: BudgetSpent | None = None

        def batch() -> list[str] | None:
            nonlocal spent
            taken: list[str] = []
            while waiting and len(taken) < self._config.batch_size and spent is None:
                tokens = estimated_input(task.prompt, question(waiting[0])) + (self._config.answer_limit or 0)
                try:
                    budget.reserve(tokens)
                except BudgetSpent as error:
                    spent = None if reserved else error  # what is under way may take less than was reserved for it
                    break
                reserved[waiting[0]] = tokens
                taken.append(waiting.popleft())
            return taken or None

        for batch_captions, replies in self._answered(task, batch):
            if isinstance(replies, NotComputed):
                for caption in batch_captions:
                    budget.release(reserved.pop(caption))
                    listener.failed(caption, str(replies))
                continue
            for caption, reply in zip(batch_captions, replies, strict=True):
                budget.spend(reserved.pop(caption), reply.input_tokens, reply.output_tokens)
                listener.answered(caption, reply)
        if spent:
            raise spent

    def _answered(
        self, task: Task, batch: Callable[[], list[str] | None]
    ) -> Iterator[tuple[list[str], list[Reply] | NotComputed]]:
        if self._cluster is None:
            yield from each_answered(batch, lambda captions: self.replies(task, captions))
            return
        model = self.fingerprint()
        yield from self._cluster.run(
            answer,
            batch,
            packed=lambda captions: Asking(self._config, model, task, captions),
            split=lambda captions: [[one] for one in captions],
        )

    def _fitting(self, task: Task, captions: Sequence[str], listener: Listener) -> list[str]:
        """Captions that the model can read to their end; tells the listener of the others."""
        most = self._model.most
        if not most:
            return list(captions)
        room = most - (self._config.answer_limit or 0)
        lengths: dict[str, int] = {}
        for one in captions:
            try:
                lengths[one] = self._model.length(task, one)
            except Exception as error:  # of a tokenizer
                listener.failed(one, problem_of(error))
        captions = list(lengths)
        fitting = [one for one in captions if lengths[one] <= room]
        if captions and not fitting:
            raise UserError(
                f"{self._config.model!r} reads {most} tokens, but prompt and caption take {min(lengths.values())} and "
                f"an answer up to {most - room}: shorten the prompt or its examples, or take another model."
            )
        for one in captions:
            if lengths[one] > room:
                reason = (
                    f"prompt and caption take {lengths[one]} tokens, more than the {room} that leave room to answer"
                )
                listener.failed(one, reason)
        return fitting


def each_answered(
    batch: Callable[[], list[str] | None], replies: Callable[[list[str]], list[Reply]]
) -> Iterator[tuple[list[str], list[Reply] | NotComputed]]:
    """Captions with what a model answers; one at which it fails costs no other, unless it fails at all it is given.

    Args:
        batch: the next captions, None if there are no more.
        replies: of the model; one for each.

    Raises:
        Exception: that of the model, if it fails at all captions.
    """
    failed: Exception | None = None
    in_a_row, worked = 0, False
    while captions := batch():
        try:
            yield captions, replies(captions)
            worked, in_a_row = True, 0
            continue
        except Exception as error:
            failed = error
        for one in captions:
            try:
                if len(captions) == 1:
                    raise failed
                yield [one], replies([one])
                worked, in_a_row = True, 0
            except Exception as error:
                failed, reason, in_a_row = error, problem_of(error), in_a_row + 1
                if in_a_row >= MOST_IN_A_ROW:
                    raise
                yield [one], NotComputed(reason)
    if failed is not None and not worked:
        raise failed


@dataclass(frozen=True)
class Asking:
    """What a worker is sent.

    Attributes:
        config: of the description.
        model: fingerprint of the model's files.
        task: what is asked.
        captions: about which.
    """

    config: DescriptionConfig
    model: str
    task: Task
    captions: list[str]


def answer(asking: Asking) -> list[Reply]:
    """Runs in a worker, which loads the model once.

    Raises:
        UserError: the model cannot be used there, or has other files than where the run began.
    """

    def load() -> tuple[LocalModel, threading.Lock]:
        engine = LocalModel(asking.config)
        if engine.fingerprint() != asking.model:
            raise FilesDiffer()
        return engine, threading.Lock()

    engine, alone = loaded_once(f"{asking.model} {asking.config!r}", load)
    with alone:
        return engine.replies(asking.task, asking.captions)
