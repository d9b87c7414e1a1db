"""Engine `transformers`: a causal language model on this machine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cache.errors import UserError
from pipeline.device import pick_device
from pipeline.hub_files import TRANSFORMERS, local_folder, weight_files
from stages.describe.budget import Budget, BudgetSpent, estimated_input
from stages.describe.config import MOST_NEW_TOKENS, DescriptionConfig
from stages.describe.engine import Listener, Reply
from stages.describe.prompts import question
from stages.describe.tasks import Task

if TYPE_CHECKING:
    import torch

FILES = ("*.json", "*.model", "*.jinja", "merges.txt", "vocab.txt", "*.tiktoken")
REMEDY = "name a folder with config.json, the weights and the tokenizer's files, or fetch it on a machine with network"
END = '"}'


class LocalModel:
    """Writes answers in batches. Each begins with what every answer begins with, `{"description": "`, and ends at the
    end of that object; a level is chosen among the three by what the model finds likeliest, letter by letter.
    """

    def __init__(self, config: DescriptionConfig) -> None:
        self._config = config
        self._folder = local_folder(config.model, FILES, REMEDY, TRANSFORMERS)
        self._loaded: tuple[Any, Any, torch.device] | None = None

    def identity(self) -> Mapping[str, Any]:
        """The bytes of weights, tokenizer and configuration: where the folder lies does not matter."""
        files = {path for pattern in FILES for path in self._folder.glob(pattern) if path.is_file()}
        index = {path for path in files if path.name.endswith(".index.json")}
        weights = weight_files(self._folder, TRANSFORMERS, REMEDY)
        return {"files": {path.name: path for path in sorted({*files, *weights} - index)}}

    def ask(self, task: Task, captions: Sequence[str], budget: Budget, listener: Listener) -> None:
        """See `Engine.ask`. A batch is the unit in which answers arrive."""
        size = self._config.batch_size
        by_length = sorted(self._fitting(task, captions, listener), key=len)
        for start in range(0, len(by_length), size):
            batch = by_length[start : start + size]
            reserved: list[int] = []
            spent: BudgetSpent | None = None
            for caption in batch:
                tokens = estimated_input(task.prompt, question(caption)) + (self._config.answer_limit or 0)
                try:
                    budget.reserve(tokens)
                except BudgetSpent as error:
                    spent = error
                    break
                reserved.append(tokens)
            batch = batch[: len(reserved)]
            for caption, tokens, reply in zip(batch, reserved, self._replies(task, batch), strict=True):
                budget.spend(tokens, reply.input_tokens, reply.output_tokens)
                listener.answered(caption, reply)
            if spent:
                raise spent

    def _fitting(self, task: Task, captions: Sequence[str], listener: Listener) -> list[str]:
        """Captions that the model can read to their end; tells the listener of the others."""
        tokenizer, model, _ = self._load()
        most = getattr(model.config, "max_position_embeddings", None)
        if not most:
            return list(captions)
        room = most - (self._config.answer_limit or 0)
        lengths = {one: len(tokenizer(self._text(tokenizer, task, one))["input_ids"]) for one in captions}
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

    def _load(self) -> tuple[Any, Any, torch.device]:
        if self._loaded is None:
            device = pick_device()
            import torch
            from transformers import AutoModelForCausalLM, AutoTokenizer

            folder: Path = self._folder
            try:
                tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, padding_side="left")
                model = AutoModelForCausalLM.from_pretrained(
                    folder, local_files_only=True, dtype=torch.float32 if device.type == "cpu" else "auto"
                )
            except (OSError, ValueError, KeyError, ImportError) as error:
                reason = " ".join(str(error).split())[:300]
                raise UserError(f"{folder} cannot be loaded as a causal language model ({reason}): {REMEDY}.") from None
            if tokenizer.pad_token is None:
                tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
            self._loaded = tokenizer, model.eval().to(device), device
        return self._loaded

    def _replies(self, task: Task, captions: Sequence[str]) -> list[Reply]:
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
        return [*self._replies(task, captions[:half]), *self._replies(task, captions[half:])]

    def _generate(self, task: Task, captions: Sequence[str]) -> list[Reply]:
        import torch

        tokenizer, model, device = self._load()
        begin = _begin(task)
        texts = [self._text(tokenizer, task, one) for one in captions]
        batch = tokenizer(
            texts, return_tensors="pt", padding=True, add_special_tokens=tokenizer.chat_template is None
        ).to(device)
        options: dict[str, Any] = {"do_sample": False, "max_new_tokens": MOST_NEW_TOKENS, **self._config.decoding}
        if task.choices:
            options["prefix_allowed_tokens_fn"] = _only(tokenizer, task.choices, batch["input_ids"].shape[1])
        else:
            options |= {"stop_strings": [END], "tokenizer": tokenizer}
        try:
            with torch.inference_mode():
                made = model.generate(
                    input_ids=batch["input_ids"],
                    attention_mask=batch["attention_mask"],
                    pad_token_id=tokenizer.pad_token_id,
                    **options,
                )
        except (ValueError, TypeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise UserError(f"{self._config.model!r} cannot be run with these `decoding` options ({reason}).") from None
        replies = []
        for row, mask in zip(made[:, batch["input_ids"].shape[1] :].tolist(), batch["attention_mask"], strict=True):
            text, ended = _object(begin + tokenizer.decode(row, skip_special_tokens=True))
            n_made = sum(token != tokenizer.pad_token_id for token in row)
            replies.append(Reply(text, "stop" if ended else "length", self._config.model, int(mask.sum()), n_made))
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


def _only(tokenizer: Any, choices: Sequence[str], n_before: int) -> Any:
    """Lets generation choose among texts, each followed by the end of the object."""
    ways = [tokenizer(f"{one}{END}", add_special_tokens=False)["input_ids"] for one in choices]
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.pad_token_id

    def allowed(_row: int, tokens: torch.Tensor) -> list[int]:
        so_far = tokens[n_before:].tolist()
        following = {way[len(so_far)] for way in ways if len(way) > len(so_far) and way[: len(so_far)] == so_far}
        return sorted(following) or [end]

    return allowed


def _object(text: str) -> tuple[str, bool]:
    """The JSON object that a text begins with, and whether it came to its end."""
    try:
        _, stop = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return text, '"}' in text[3:]
    return text[:stop], True
