"""Orders of the tokens of a shifted-window transformer over a folded spectrogram, as tables of indices.

A spectrogram of 64 bins and 1024 frames is folded into an image of 256 x 256: four quarters of the time below each
other. Its patches of 4 x 4 pixels are the tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

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
    places = torch.empty_like(before)
    places[before] = torch.arange(len(before))
    return places[after]


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
