"""A stage of the shifted-window transformer (https://arxiv.org/abs/2103.14030), its tokens in the order of windows.

The parameters have their published names. Before each block tokens are gathered into the order of its windows, so that
neither the windows nor their shift need a copy of their own; position bias and mask are one table per block.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.embed.models import swin_order
from stages.embed.models.packed_linear import PackedLinear
from stages.embed.models.swin_order import SHIFT, WINDOW


class Stage(nn.Module):
    """Blocks of one resolution and the merging of patches after them.

    Args:
        dim: features of a token.
        depth: blocks; every second one has its windows shifted.
        heads: attention heads.
        side: tokens of an edge of the image.
        last: nothing is merged after it.
    """

    def __init__(self, dim: int, depth: int, heads: int, side: int, last: bool) -> None:
        super().__init__()
        self._side, self._shifts = side, [SHIFT if i % 2 and side > WINDOW else 0 for i in range(depth)]
        self.blocks = nn.ModuleList(_Block(dim, heads, side, shift) for shift in self._shifts)
        self.downsample: Any = None if last else _Merging(dim)

    def finish(self) -> None:
        """Makes the tables of indices and biases; to be done once the weights are there."""
        side = self._side
        orders = [swin_order.windows(side, shift) for shift in self._shifts]
        starts = [swin_order.windows(side), *orders]
        blocks: Any = self.blocks
        for block, before, after in zip(blocks, starts, orders, strict=False):
            gather = None if torch.equal(before, after) else swin_order.reordered(before, after)
            block.register_buffer("gather", gather, persistent=False)
            block.finish()
        if self.downsample is not None:
            self.downsample.register_buffer("gather", swin_order.reordered(orders[-1], swin_order.merged(side)), False)

    def forward(self, x: Tensor) -> Tensor:
        """(clips, tokens, dim) in window order to the next stage's: a quarter of the tokens, twice the dim."""
        for layer in [*self.blocks, self.downsample]:
            if layer is not None:
                x = layer(x if layer.gather is None else x[:, layer.gather])
        return x


class _Merging(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.reduction(self.norm(x.view(len(x), -1, 4 * x.shape[2])))


class _Block(nn.Module):
    attn: Any
    mlp: Any
    _bias: Tensor

    def __init__(self, dim: int, heads: int, side: int, shift: int) -> None:
        super().__init__()
        self._shift, self._side, self._heads = shift, side, heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = nn.Module()
        self.attn.relative_position_bias_table = nn.Parameter(torch.empty((2 * WINDOW - 1) ** 2, heads))
        self.attn.qkv, self.attn.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Module()
        self.mlp.fc1, self.mlp.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def finish(self) -> None:
        bias = self.attn.relative_position_bias_table[swin_order.position_index()].permute(2, 0, 1)
        count = (self._side // WINDOW) ** 2
        mask = swin_order.shift_mask(self._side) if self._shift else torch.zeros(count, 1, 1)
        self.register_buffer("_bias", (bias + mask[:, None]).flatten(0, 1)[None].contiguous(), persistent=False)
        self.mlp.fc1 = PackedLinear.of(self.mlp.fc1, "gelu")

    def forward(self, x: Tensor) -> Tensor:
        clips, tokens, dim = x.shape
        qkv = self.attn.qkv(self.norm1(x)).view(clips, -1, WINDOW**2, 3, self._heads, dim // self._heads)
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5).flatten(2, 3)
        heard = functional.scaled_dot_product_attention(q, k, v, attn_mask=self._bias)
        heard = heard.view(clips, -1, self._heads, WINDOW**2, dim // self._heads).transpose(2, 3)
        x = x + self.attn.proj(heard.reshape(clips, tokens, dim))
        return x + self.mlp.fc2(self.mlp.fc1(self.norm2(x)))
