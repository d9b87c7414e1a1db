"""The text tower of CLIP, SigLIP and SigLIP 2, and their tokenizers."""

from __future__ import annotations

import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from pipeline.checkpoints.weights import CheckpointError, first_line
from pipeline.hub_files import read_json

Text = Literal["canonical", "lower", "none"]

WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)
LEGACY_EOS = 2
"""`eos_token_id` in older settings of CLIP: the highest token id of a caption is its end."""


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder; SigLIP's from `tokenizer.json` wherever there is one, so without SentencePiece.

    Raises:
        CheckpointError: the folder has none that can be used here.
    """
    settings = folder / "tokenizer_config.json"
    declared = str(read_json(settings).get("tokenizer_class")) if settings.is_file() else ""
    foreign = not (folder / "config.json").is_file() or "model_type" not in read_json(folder / "config.json")
    own_file = (foreign or declared.startswith("SiglipTokenizer")) and (folder / "tokenizer.json").is_file()
    try:
        loader = PreTrainedTokenizerFast if own_file else AutoTokenizer
        return loader.from_pretrained(folder, local_files_only=True)
    except ImportError as error:
        raise CheckpointError(
            f"{folder} has spiece.model but no tokenizer.json: put tokenizer.json of the same model beside it, or run "
            "`uv pip install sentencepiece`"
        ) from error
    except Exception as error:  # damaged files raise anything
        raise CheckpointError(f"{folder} has no usable tokenizer: {first_line(error)}") from error


def text_rule(model_type: str, tokenizer: Any) -> Text:
    """How the captions of a model's training were written, from its kind and its tokenizer."""
    if model_type == "clip":
        return "none"
    gemma = model_type == "siglip2" or "<bos>" in tokenizer.get_vocab()
    return "lower" if gemma else "canonical"


def rewrite(caption: str, rule: Text) -> str:
    """A caption as the model was trained to read it."""
    if rule == "none":
        return caption
    lower = caption.lower()
    return lower if rule == "lower" else " ".join(lower.translate(WITHOUT_PUNCTUATION).split())


class CaptionTower:
    """Captions through the text tower.

    CLIP's reads up to the end of a caption; SigLIP's reads its padding too, which is always that of its training.

    Args:
        model: from `clip_like.load`.
        tokenizer: from `load_tokenizer`.
        rule: how captions are written before the tokenizer; `auto` for `text_rule`.

    Raises:
        CheckpointError: the tokenizer is not the one of the model.
    """

    def __init__(self, model: Any, tokenizer: Any, rule: Text | Literal["auto"]) -> None:
        self._model, self._tokenizer = model, tokenizer
        kind, config = model.config.model_type, model.config.text_config
        self._rule: Text = text_rule(kind, tokenizer) if rule == "auto" else rule
        self._padded = kind != "clip"
        ends = (LEGACY_EOS, tokenizer.eos_token_id) if kind == "clip" else (config.eos_token_id,)
        if len(tokenizer) > config.vocab_size or tokenizer.pad_token_id is None or config.eos_token_id not in ends:
            raise CheckpointError(
                f"the tokenizer has {len(tokenizer)} tokens, pads with {tokenizer.pad_token_id} and ends with "
                f"{tokenizer.eos_token_id}, but config.json describes {config.vocab_size} tokens that end with "
                f"{config.eos_token_id}: the files are of different models"
            )
        self._length = config.max_position_embeddings
        self.prepare("", b"")  # sets truncation and padding up, which is not safe in several threads at once

    def prepare(self, item: str, key: bytes) -> Tensor:
        """Token ids; nothing is drawn at random, so that the row key plays no part."""
        tokens = self._tokenizer(
            rewrite(item, self._rule),
            truncation=True,
            max_length=self._length,
            padding="max_length" if self._padded else False,
        )
        return torch.tensor(tokens["input_ids"])

    @torch.inference_mode()
    def encode(self, batch: Sequence[Tensor]) -> np.ndarray:
        """(captions, dim) unit-length rows."""
        device = next(self._model.parameters()).device
        ids = pad_sequence(list(batch), batch_first=True, padding_value=self._tokenizer.pad_token_id)
        inputs = {"input_ids": ids.to(device)}
        if not self._padded:
            lengths = torch.tensor([len(tokens) for tokens in batch])
            inputs["attention_mask"] = (torch.arange(ids.shape[1]) < lengths[:, None]).long().to(device)
        rows = self._model.get_text_features(**inputs).pooler_output.float()
        return normalize(rows, dim=-1).cpu().numpy()
