"""BERT's encoder (Devlin et al., 2018, arXiv 1810.04805) for evaluation, under the names of `transformers`.

The same values as `transformers.BertModel` with `sdpa` attention, bit for bit, without importing `transformers`: that
takes two seconds, longer than a new clip and its caption.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

ONLY = {"hidden_act": "gelu", "position_embedding_type": "absolute", "is_decoder": False}
"""Options of a config.json that have one value here."""


class Bert(nn.Module):
    """BERT with a pooler, whose weights are part of published files though nothing here computes it.

    Args:
        config: values of a `config.json` of `transformers`.

    Raises:
        ValueError: a value is missing, or is another network's.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        for option, value in ONLY.items():
            if config.get(option, value) != value:
                raise ValueError(f"{option} is {config[option]!r}, and only {value!r} is implemented")
        try:
            width, n_layers, n_tokens = (config[name] for name in ("hidden_size", "num_hidden_layers", "vocab_size"))
            n_heads, inner = config["num_attention_heads"], config["intermediate_size"]
            most, n_types = config["max_position_embeddings"], config["type_vocab_size"]
        except KeyError as error:
            raise ValueError(f"it has no {error.args[0]}") from None
        epsilon = config.get("layer_norm_eps", 1e-12)
        self.embeddings = _Embeddings(width, n_tokens, most, n_types, epsilon)
        self.encoder = nn.ModuleDict(
            {"layer": nn.ModuleList([_Layer(width, inner, n_heads, epsilon) for _ in range(n_layers)])}
        )
        self.pooler = nn.ModuleDict({"dense": nn.Linear(width, width)})

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Vectors of all tokens.

        Args:
            tokens: (texts, length) int64.
            mask: (texts, length), 1 for a token and 0 for padding.

        Returns:
            (texts, length, hidden_size) float32.
        """
        attended = None if mask.all() else mask.bool()[:, None, None, :].expand(-1, 1, tokens.shape[1], -1)
        hidden: Tensor = self.embeddings(tokens)
        for layer in self.encoder["layer"].children():
            hidden = layer(hidden, attended)
        return hidden


class _Embeddings(nn.Module):
    def __init__(self, width: int, n_tokens: int, most: int, n_types: int, epsilon: float) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(n_tokens, width)
        self.position_embeddings = nn.Embedding(most, width)
        self.token_type_embeddings = nn.Embedding(n_types, width)
        self.LayerNorm = nn.LayerNorm(width, eps=epsilon)

    def forward(self, tokens: Tensor) -> Tensor:
        positions = torch.arange(tokens.shape[1], device=tokens.device)[None]
        embedded = self.word_embeddings(tokens) + self.token_type_embeddings(torch.zeros_like(tokens))
        normalised: Tensor = self.LayerNorm(embedded + self.position_embeddings(positions))
        return normalised


class _Layer(nn.Module):
    def __init__(self, width: int, inner: int, n_heads: int, epsilon: float) -> None:
        super().__init__()
        self.attention = nn.ModuleDict({"self": _Attention(width, n_heads), "output": _Added(width, width, epsilon)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, inner)})
        self.output = _Added(inner, width, epsilon)

    def forward(self, hidden: Tensor, attended: Tensor | None) -> Tensor:
        hidden = self.attention["output"](self.attention["self"](hidden, attended), hidden)
        result: Tensor = self.output(functional.gelu(self.intermediate["dense"](hidden)), hidden)
        return result


class _Attention(nn.Module):
    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self._n_heads = n_heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))

    def forward(self, hidden: Tensor, attended: Tensor | None) -> Tensor:
        query, key, value = (
            part(hidden).unflatten(2, (self._n_heads, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=attended)
        return mixed.transpose(1, 2).flatten(2)


class _Added(nn.Module):
    """A linear layer whose output is added to what an earlier one gave, and normalised."""

    def __init__(self, inputs: int, outputs: int, epsilon: float) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, outputs)
        self.LayerNorm = nn.LayerNorm(outputs, eps=epsilon)

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        normalised: Tensor = self.LayerNorm(self.dense(x) + before)
        return normalised
