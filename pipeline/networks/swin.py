"""Stages of a shifted-window transformer (https://arxiv.org/abs/2103.14030) over a folded spectrogram.

A spectrogram of 64 bins and 1024 frames is folded into an image of 256 x 256: four quarters of the time below each
other. Its patches of 4 x 4 pixels are the tokens. Their orders are tables of indices: before each block tokens are
gathered into the order of its windows, so that neither the windows nor their shift need a copy of their own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.networks.packed import PackedLinear

SIDE, BINS, PATCH, WINDOW = 256, 64, 4, 8
SHIFT = WINDOW // 2
CHUNK_WIDTH = 3 * PATCH
"""Pixels of a patch of the three chunks: they share the width of one view."""
MASKED = -100.0


def patches() -> Tensor:
    """(tokens, 16) where in a flattened (bins, frames) spectrogram the pixels of each token lie, in window order."""
    return _cut(PATCH)[windows(SIDE // PATCH)]


def chunk_patches() -> tuple[Tensor, Tensor]:
    """The same for three chunks, laid side by side and thrice as wide: their tokens' pixels.

    Returns:
        (tokens, 48) where in three flattened spectrograms the pixels lie, and (tokens, 1) whether a token has any:
        three times 21 wide patches leave the last of 64 columns empty.
    """
    side, wide = SIDE // PATCH, SIDE // CHUNK_WIDTH
    pixels = _cut(CHUNK_WIDTH).view(side, wide, -1)
    chunks = torch.cat([pixels + chunk * BINS * SIDE * SIDE // BINS for chunk in range(3)], dim=1)
    filled = torch.zeros(side, side, 1, dtype=torch.bool)
    filled[:, : 3 * wide] = True
    table = torch.zeros(side, side, pixels.shape[-1], dtype=torch.long)
    table[:, : 3 * wide] = chunks
    order = windows(side)
    return table.flatten(0, 1)[order], filled.flatten(0, 1)[order]


def windows(side: int, shift: int = 0) -> Tensor:
    """(side²,) raster positions of a square of tokens, window by window, after a cyclic shift up and left."""
    raster = torch.arange(side * side).view(side, side).roll((-shift, -shift), (0, 1))
    return _windowed(raster).flatten()


def reordered(before: Tensor, after: Tensor) -> Tensor:
    """The gather that leads from one order of raster positions to another, which may be a part or a longer one."""
    positions = torch.empty_like(before)
    positions[before] = torch.arange(len(before))
    return positions[after]


def merged(side: int) -> Tensor:
    """(side²,) raster positions of four neighbours after four neighbours, in the window order of the next stage."""
    raster = torch.arange(side * side).view(side // 2, 2, side // 2, 2)
    neighbours = raster.permute(0, 2, 3, 1).reshape(-1, 4)  # up left, down left, up right, down right
    return neighbours[windows(side // 2)].flatten()


def shift_mask(side: int) -> Tensor:
    """(windows, 64, 64) what keeps tokens apart that only the cyclic shift has brought together."""
    position = torch.arange(side)
    region = (position >= side - WINDOW).long() + (position >= side - SHIFT).long()
    regions = _windowed(region[:, None] * 3 + region)
    return torch.where(regions[:, :, None] == regions[:, None, :], 0.0, MASKED)


def position_index() -> Tensor:
    """(64, 64) row of the table of position biases for each pair of tokens of a window."""
    position = torch.arange(WINDOW)
    apart = position[:, None] - position + WINDOW - 1
    return (apart[:, None, :, None] * (2 * WINDOW - 1) + apart[None, :, None, :]).reshape(WINDOW**2, WINDOW**2)


def _windowed(square: Tensor) -> Tensor:
    count = len(square) // WINDOW
    return square.view(count, WINDOW, count, WINDOW).permute(0, 2, 1, 3).reshape(count * count, WINDOW * WINDOW)


def _cut(width: int) -> Tensor:
    """(patches, 4 * width) positions in a flattened (bins, frames) spectrogram, patch by patch, in raster order."""
    frames = SIDE * SIDE // BINS
    spectrogram = torch.arange(BINS * frames).view(BINS, frames // SIDE, SIDE)
    image = spectrogram.permute(1, 0, 2).reshape(SIDE, SIDE)
    count = SIDE // width
    pixels = image[:, : count * width].reshape(SIDE // PATCH, PATCH, count, width)
    return pixels.permute(0, 2, 1, 3).reshape(-1, PATCH * width)


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
        orders = [windows(side, shift) for shift in self._shifts]
        starts = [windows(side), *orders]
        blocks: Any = self.blocks
        for block, before, after in zip(blocks, starts, orders, strict=False):
            gather = None if torch.equal(before, after) else reordered(before, after)
            block.register_buffer("gather", gather, persistent=False)
            block.finish()
        if self.downsample is not None:
            self.downsample.register_buffer("gather", reordered(orders[-1], merged(side)), False)

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
        bias = self.attn.relative_position_bias_table[position_index()].permute(2, 0, 1)
        count = (self._side // WINDOW) ** 2
        mask = shift_mask(self._side) if self._shift else torch.zeros(count, 1, 1)
        self.register_buffer("_bias", (bias + mask[:, None]).flatten(0, 1)[None].contiguous(), persistent=False)
        self.mlp.fc1 = PackedLinear.of(self.mlp.fc1, "gelu")

    def forward(self, x: Tensor) -> Tensor:
        clips, tokens, dim = x.shape
        qkv = self.attn.qkv(self.norm1(x)).view(clips, -1, WINDOW**2, 3, self._heads, dim // self._heads)
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5).flatten(2, 3)
        attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=self._bias)
        attended = attended.view(clips, -1, self._heads, WINDOW**2, dim // self._heads).transpose(2, 3)
        x = x + self.attn.proj(attended.reshape(clips, tokens, dim))
        return x + self.mlp.fc2(self.mlp.fc1(self.norm2(x)))
