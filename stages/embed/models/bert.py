"""BERT (https://arxiv.org/abs/1810.04805) for evaluation, with the names of published weights.

`transformers` has it too, but to import that takes as long as to embed three hundred clips.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from stages.embed.models.packed_linear import PackedLinear


class Bert(nn.Module):
    """Token ids to vectors.

    Args:
        config: what `config.json` says: `vocab_size`, `hidden_size`, `num_hidden_layers`, `num_attention_heads`,
            `intermediate_size`, `max_position_embeddings`, `type_vocab_size`, `layer_norm_eps`.

    Raises:
        KeyError: it says too little.
        ValueError: it describes another network.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        kind = config.get("hidden_act", "gelu"), config.get("position_embedding_type", "absolute")
        if kind != ("gelu", "absolute") or config["hidden_size"] % config["num_attention_heads"]:
            raise ValueError(f"activation {kind[0]}, {kind[1]} positions, {config['num_attention_heads']} heads")
        dim, epsilon = config["hidden_size"], config["layer_norm_eps"]
        self.embeddings = nn.Module()
        self.embeddings.word_embeddings = nn.Embedding(config["vocab_size"], dim)
        self.embeddings.position_embeddings = nn.Embedding(config["max_position_embeddings"], dim)
        self.embeddings.token_type_embeddings = nn.Embedding(config["type_vocab_size"], dim)
        self.embeddings.LayerNorm = nn.LayerNorm(dim, epsilon)
        self.encoder = nn.Module()
        layers = (_Layer(config, dim, epsilon) for _ in range(config["num_hidden_layers"]))
        self.encoder.layer = nn.ModuleList(layers)
        self.pooler = nn.Module()  # published, not used
        self.pooler.dense = nn.Linear(dim, dim)

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """The last vectors of tokens.

        Args:
            ids: int64 (texts, tokens).
            mask: bool (texts, tokens), whether there is a token; None where nothing is padded.

        Returns:
            (texts, tokens, dim).
        """
        given: Any = self.embeddings
        first_type = given.token_type_embeddings.weight[0]
        x = given.word_embeddings(ids) + (first_type + given.position_embeddings.weight[: ids.shape[1]])
        x = given.LayerNorm(x)
        seen = None if mask is None else mask[:, None, None]
        layers: Any = self.encoder.layer
        for layer in layers:
            x = layer(x, seen)
        return x


class _Layer(nn.Module):
    attention: Any
    intermediate: Any
    output: Any

    def __init__(self, config: Mapping[str, Any], dim: int, epsilon: float) -> None:
        super().__init__()
        self._heads, inner = config["num_attention_heads"], config["intermediate_size"]
        self.attention = nn.Module()
        self.attention.self = nn.Module()
        for name in ("query", "key", "value"):
            setattr(self.attention.self, name, nn.Linear(dim, dim))
        self.attention.output = _Output(dim, dim, epsilon)
        self.intermediate = nn.Module()
        self.intermediate.dense = PackedLinear(torch.empty(inner, dim), torch.empty(inner), "gelu")
        self.output = _Output(inner, dim, epsilon)

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        own = self.attention.self
        q, k, v = (part(x).unflatten(2, (self._heads, -1)).transpose(1, 2) for part in (own.query, own.key, own.value))
        heard = scaled_dot_product_attention(q, k, v, attn_mask=seen).transpose(1, 2).flatten(2)
        x = self.attention.output(heard, x)
        return self.output(self.intermediate.dense(x), x)


class _Output(nn.Module):
    def __init__(self, inputs: int, dim: int, epsilon: float) -> None:
        super().__init__()
        self.dense, self.LayerNorm = nn.Linear(inputs, dim), nn.LayerNorm(dim, epsilon)

    def forward(self, x: Tensor, shortcut: Tensor) -> Tensor:
        return self.LayerNorm(self.dense(x) + shortcut)
