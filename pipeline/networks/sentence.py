"""Sentence encoders: a transformer, pooling over its tokens, linear layers, unit length.

What `sentence-transformers` computes for such folders, without the package: every weight has to be in the files, and on
a CPU a text's vector does not depend on the texts beside it.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch
from tokenizers import normalizers
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, AutoTokenizer, MT5EncoderModel, T5EncoderModel
from transformers.utils import logging

from pipeline.checkpoints.sentence import Dense, SentenceModel
from pipeline.checkpoints.weights import CheckpointError, check_numbers, first_line, load_strictly, read_files
from pipeline.networks.packed import place

ENCODERS = {"t5": T5EncoderModel, "mt5": MT5EncoderModel}
"""Of models with a decoder, the half that `sentence-transformers` takes."""

BATCH = 64  # texts per pass, where texts share passes


class SentenceEncoder:
    """Tokenizer and networks of a sentence encoder.

    Args:
        found: its settings and files.
        device: where it computes.

    Raises:
        CheckpointError: a file is damaged, a weight is missing or of another shape.
    """

    def __init__(self, found: SentenceModel, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.network = place(_network(found), self.device)
        self._dense = [place(_dense(one), self.device) for one in found.dense]
        self._pooling, self._dim = found.pooling, found.dim
        self._taken = set(inspect.signature(self.network.forward).parameters)
        self._tokenizer = _tokenizer(found)
        limits = (self._tokenizer.model_max_length, getattr(self.network.config, "max_position_embeddings", -1))
        self._max_tokens = found.max_tokens or min(limit for limit in limits if limit not in (None, -1))

    def encode(self, texts: Sequence[str], prompt: str = "") -> np.ndarray:
        """Unit-length vectors of texts, in their order.

        On the CPU texts of the same number of tokens share passes, so that nothing is padded; elsewhere texts of
        similar length do, and a vector moves by rounding with its company.

        Args:
            texts: any strings.
            prompt: what is put before each.

        Returns:
            (len(texts), dim) float32.
        """
        tokens = self._tokenizer([prompt + text for text in texts], truncation=True, max_length=self._max_tokens)
        names = [name for name in tokens if name in self._taken]
        lengths = [len(ids) for ids in tokens["input_ids"]]
        vectors = np.empty((len(texts), self._dim), np.float32)
        alike = self.device.type == "cpu"
        order = sorted(range(len(texts)), key=lambda i: lengths[i])
        for _, group in groupby(order, key=lambda i: lengths[i] if alike else None):
            rows = list(group)
            for start in range(0, len(rows), BATCH):
                part = rows[start : start + BATCH]
                vectors[part] = self._vectors({name: [tokens[name][i] for i in part] for name in names})
        return vectors

    @torch.inference_mode()
    def _vectors(self, tokens: dict[str, list[list[int]]]) -> np.ndarray:
        padded = self._tokenizer.pad(tokens, return_tensors="pt").to(self.device)
        hidden = self.network(**padded).last_hidden_state
        pooled = torch.cat([pool(hidden, padded["attention_mask"], mode) for mode in self._pooling], dim=1).float()
        for layer in self._dense:
            pooled = layer(pooled)
        return functional.normalize(pooled.float(), dim=1).cpu().numpy()


def pool(hidden: Tensor, mask: Tensor, mode: str) -> Tensor:
    """Token vectors to one vector.

    Args:
        hidden: (texts, tokens, width).
        mask: (texts, tokens), 1 for tokens that are no padding.
        mode: one of `pipeline.checkpoints.sentence.Pooling`.

    Returns:
        (texts, width).
    """
    rows = torch.arange(len(hidden), device=hidden.device)
    if mode == "cls":
        return hidden[rows, mask.int().argmax(dim=1)]
    if mode == "lasttoken":
        return hidden[rows, mask.shape[1] - 1 - mask.int().flip(1).argmax(dim=1)]
    if mode == "max":
        return hidden.masked_fill(mask[:, :, None] == 0, -torch.inf).amax(dim=1)
    weights = mask.to(hidden.dtype)
    if mode == "weightedmean":
        weights = weights * weights.cumsum(dim=1)
    total = (hidden * weights[:, :, None]).sum(dim=1)
    count = weights.sum(dim=1, keepdim=True).clamp(min=1e-9)
    return total / (count.sqrt() if mode == "mean_sqrt_len_tokens" else count)


def _network(found: SentenceModel) -> Any:
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        config = AutoConfig.from_pretrained(found.folder, local_files_only=True, trust_remote_code=False)
        network, told = ENCODERS.get(config.model_type, AutoModel).from_pretrained(
            found.folder, config=config, dtype=torch.float32, output_loading_info=True, local_files_only=True
        )
    except Exception as error:  # damaged files raise anything
        raise CheckpointError(f"{found.folder} has no model that can be loaded: {first_line(error)}") from error
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
    # The layer after [CLS] takes no part in pooling; checkpoints of language models lack it.
    missing = sorted(key for key in told["missing_keys"] if "pooler." not in key)
    reshaped = sorted(str(key[0] if isinstance(key, tuple) else key) for key in told["mismatched_keys"])
    if missing or reshaped:
        fault = f"lacks {missing[0]}" if missing else f"has {reshaped[0]} of another shape"
        more = f" and {len(missing) + len(reshaped) - 1} more" if len(missing) + len(reshaped) > 1 else ""
        raise CheckpointError(f"{found.weights[0]} {fault}{more}: it is not the model of its config.json")
    check_numbers(network.state_dict(), found.weights[0])
    return network


def _dense(layer: Dense) -> nn.Module:
    activation = getattr(nn, layer.activation, None)
    if activation is None or activation.__module__ not in ("torch.nn.modules.activation", "torch.nn.modules.linear"):
        raise CheckpointError(f"{layer.weights.parent / 'config.json'}: no activation {layer.activation!r}")
    linear = nn.Linear(layer.inputs, layer.outputs, layer.bias)
    state = {key.removeprefix("linear."): value for key, value in read_files([layer.weights]).items()}
    load_strictly(linear, state, layer.weights, "a linear layer as its config.json describes it")
    return nn.Sequential(linear, activation())


def _tokenizer(found: SentenceModel) -> Any:
    try:
        tokenizer = AutoTokenizer.from_pretrained(found.folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # missing and damaged files raise anything
        raise CheckpointError(f"{found.folder} has no usable tokenizer: {first_line(error)}") from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if found.lower_case:
        own = tokenizer.backend_tokenizer.normalizer
        tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Lowercase(), *([] if own is None else [own])]
        )
    return tokenizer
