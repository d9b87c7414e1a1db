"""A causal language model of transformers: answers in batches, each begun and ended as an answer must be."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cache.errors import UserError
from pipeline.monitor.device import pick_device
from stages.describe.config import MOST_NEW_TOKENS, DescriptionConfig
from stages.describe.engine import Reply, Task
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
