"""Engine `transformers`: a causal language model in this process or in each worker of a cluster, batch by batch."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cache.errors import UserError
from pipeline.checkpoints.fingerprints import fingerprint_of
from pipeline.checkpoints.hub import TRANSFORMERS, local_folder, weight_files
from pipeline.monitor.device import pick_device
from pipeline.monitor.problems import problem_of
from pipeline.runner.batches import MOST_IN_A_ROW
from pipeline.runner.dask.cluster import Cluster
from pipeline.runner.dask.worker import FilesDiffer, loaded_once
from pipeline.runner.run import NotComputed
from stages.describe.config import MOST_NEW_TOKENS, DescriptionConfig
from stages.describe.engine import Budget, BudgetSpent, Callbacks, Reply, Task, estimated_input
from stages.describe.prompts import question

if TYPE_CHECKING:
    import torch

REMEDY = "name a folder with config.json, the weights and the tokenizer's files, or fetch it on a machine with network"
END = '"}'


class CausalModel:
    """Writes answers in batches. Each begins with what every answer begins with, `{"description": "`, and ends at the
    end of that object; a level is chosen among the three by what the model finds likeliest, letter by letter.

    Args:
        config: of the description.
        folder: with the model's files.
    """

    def __init__(self, config: DescriptionConfig, folder: Path) -> None:
        self._config, self._folder = config, folder

    def length(self, task: Task, caption: str) -> int:
        """Tokens that the model is given."""
        return len(self._tokenizer(self._text(self._tokenizer, task, caption))["input_ids"])

    @cached_property
    def most(self) -> int | None:
        """Tokens that the model can read and write together, if it has a limit. Loads no weights."""
        from transformers import AutoConfig

        return getattr(self._loaded(AutoConfig), "max_position_embeddings", None) or None

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        tokenizer = self._loaded(AutoTokenizer, padding_side="left")
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
        return tokenizer

    @cached_property
    def _model(self) -> tuple[Any, torch.device]:
        device = pick_device()
        import torch
        from transformers import AutoModelForCausalLM

        dtype = torch.float32 if device.type == "cpu" else "auto"
        return self._loaded(AutoModelForCausalLM, dtype=dtype).eval().to(device), device

    def _loaded(self, kind: Any, **options: Any) -> Any:
        try:
            return kind.from_pretrained(self._folder, local_files_only=True, **options)
        except (OSError, ValueError, KeyError, ImportError) as error:
            reason = " ".join(str(error).split())[:300]
            raise UserError(
                f"{self._folder} cannot be loaded as a causal language model ({reason}): {REMEDY}."
            ) from None

    def replies(self, task: Task, captions: Sequence[str]) -> list[Reply]:
        """Answers to one batch; a batch that the GPU's memory does not hold is halved."""
        if not captions:
            return []
        import torch

        try:
            return self._generate(task, captions)
        except torch.cuda.OutOfMemoryError:
            if len(captions) == 1:
                raise UserError(f"{self._config.model!r} does not fit this GPU with a single caption.") from None
        torch.cuda.empty_cache()
        half = len(captions) // 2
        return [*self.replies(task, captions[:half]), *self.replies(task, captions[half:])]

    def _generate(self, task: Task, captions: Sequence[str]) -> list[Reply]:
        import torch

        tokenizer, (model, device) = self._tokenizer, self._model
        begin = _begin(task)
        texts = [self._text(tokenizer, task, caption) for caption in captions]
        batch = tokenizer(
            texts, return_tensors="pt", padding=True, add_special_tokens=tokenizer.chat_template is None
        ).to(device)
        n_input = batch["input_ids"].shape[1]
        options: dict[str, Any] = {"do_sample": False, "max_new_tokens": MOST_NEW_TOKENS, **self._config.decoding}
        if task.choices:
            options["prefix_allowed_tokens_fn"] = _choice_constraint(tokenizer, task.choices, n_input)
        else:
            options |= {"stop_strings": [END], "tokenizer": tokenizer}
        try:
            with torch.inference_mode():
                generated = model.generate(
                    input_ids=batch["input_ids"],
                    attention_mask=batch["attention_mask"],
                    pad_token_id=tokenizer.pad_token_id,
                    **options,
                )
        except (ValueError, TypeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise UserError(f"{self._config.model!r} cannot be run with these `decoding` options ({reason}).") from None
        replies = []
        for row, mask in zip(generated[:, n_input:].tolist(), batch["attention_mask"], strict=True):
            text, ended = _json_object(begin + tokenizer.decode(row, skip_special_tokens=True))
            n_output = sum(token != tokenizer.pad_token_id for token in row)
            replies.append(Reply(text, "stop" if ended else "length", self._config.model, int(mask.sum()), n_output))
        return replies

    @staticmethod
    def _text(tokenizer: Any, task: Task, caption: str) -> str:
        """The conversation as the model's chat template has it, or as plain lines if it has none, up to the answer."""
        asked = question(caption)
        if tokenizer.chat_template is None:
            return f"{task.prompt}\n\n{asked}\n{_begin(task)}"
        from jinja2 import TemplateError

        system = [{"role": "system", "content": task.prompt}, {"role": "user", "content": asked}]
        alone = [{"role": "user", "content": f"{task.prompt}\n\n{asked}"}]
        for messages in (system, alone):  # some templates know no system
            try:
                text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            except TemplateError:
                continue
            return text + _begin(task)
        raise UserError("The chat template of the model takes neither a system message nor a user's alone.")


def _begin(task: Task) -> str:
    """How every answer begins."""
    return f'{{"{task.name}": "'


def _choice_constraint(tokenizer: Any, choices: Sequence[str], n_before: int) -> Any:
    """Lets generation choose among texts, each followed by the end of the object."""
    sequences = [tokenizer(f"{choice}{END}", add_special_tokens=False)["input_ids"] for choice in choices]
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.pad_token_id

    def allowed(_row: int, tokens: torch.Tensor) -> list[int]:
        so_far = tokens[n_before:].tolist()
        following = {
            sequence[len(so_far)]
            for sequence in sequences
            if len(sequence) > len(so_far) and sequence[: len(so_far)] == so_far
        }
        return sorted(following) or [end]

    return allowed


def _json_object(text: str) -> tuple[str, bool]:
    """The JSON object that a text begins with, and whether it came to its end."""
    try:
        _, stop = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return text, '"}' in text[3:]
    return text[:stop], True


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

    def ask(self, task: Task, captions: Sequence[str], budget: Budget, callbacks: Callbacks) -> None:
        """See `Engine.ask`. The budget is taken before a batch is begun, also where several are begun at a time."""
        waiting = deque(sorted(self._fitting(task, captions, callbacks), key=len))
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
                    spent = None if reserved else error  # what is in flight may take less than was reserved for it
                    break
                reserved[waiting[0]] = tokens
                taken.append(waiting.popleft())
            return taken or None

        for batch_captions, replies in self._answered(task, batch):
            if isinstance(replies, NotComputed):
                for caption in batch_captions:
                    budget.release(reserved.pop(caption))
                    callbacks.failed(caption, str(replies))
                continue
            for caption, reply in zip(batch_captions, replies, strict=True):
                budget.spend(reserved.pop(caption), reply.input_tokens, reply.output_tokens)
                callbacks.answered(caption, reply)
        if spent:
            raise spent

    def _answered(
        self, task: Task, batch: Callable[[], list[str] | None]
    ) -> Iterator[tuple[list[str], list[Reply] | NotComputed]]:
        if self._cluster is None:
            yield from answered_batches(batch, lambda captions: self.replies(task, captions))
            return
        model = self.fingerprint()
        yield from self._cluster.run(
            answer,
            batch,
            packed=lambda captions: Request(self._config, model, task, captions),
            split=lambda captions: [[caption] for caption in captions],
        )

    def _fitting(self, task: Task, captions: Sequence[str], callbacks: Callbacks) -> list[str]:
        """Captions that the model can read to their end; calls back for the others."""
        most = self._model.most
        if not most:
            return list(captions)
        longest = most - (self._config.answer_limit or 0)
        lengths: dict[str, int] = {}
        for caption in captions:
            try:
                lengths[caption] = self._model.length(task, caption)
            except Exception as error:  # of a tokenizer
                callbacks.failed(caption, problem_of(error))
        captions = list(lengths)
        fitting = [caption for caption in captions if lengths[caption] <= longest]
        if captions and not fitting:
            raise UserError(
                f"{self._config.model!r} reads {most} tokens, but prompt and caption take {min(lengths.values())} and "
                f"an answer up to {most - longest}: shorten the prompt or its examples, or take another model."
            )
        for caption in captions:
            if lengths[caption] > longest:
                tokens = f"{lengths[caption]} tokens, more than the {longest} that leave room to answer"
                callbacks.failed(caption, f"prompt and caption take {tokens}")
        return fitting


def answered_batches(
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
        for caption in captions:
            try:
                if len(captions) == 1:
                    raise failed
                yield [caption], replies([caption])
                worked, in_a_row = True, 0
            except Exception as error:
                failed, reason, in_a_row = error, problem_of(error), in_a_row + 1
                if in_a_row >= MOST_IN_A_ROW:
                    raise
                yield [caption], NotComputed(reason)
    if failed is not None and not worked:
        raise failed


@dataclass(frozen=True)
class Request:
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


def answer(request: Request) -> list[Reply]:
    """Runs in a worker, which loads the model once.

    Raises:
        UserError: the model cannot be used there, or has other files than where the run began.
    """

    def load() -> tuple[LocalModel, threading.Lock]:
        engine = LocalModel(request.config)
        if engine.fingerprint() != request.model:
            raise FilesDiffer()
        return engine, threading.Lock()

    engine, alone = loaded_once(f"{request.model} {request.config!r}", load)
    with alone:
        return engine.replies(request.task, request.captions)
