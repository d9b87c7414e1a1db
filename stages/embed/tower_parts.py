"""What the towers of several encoders share: features of frames as ragged rows or their mean, and padded token ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor

CPU_UNITS, CUDA_UNITS = 4, 64
"""Units that go through the network at a time."""


class FrameFeatureTower:
    """Frames at a constant rate through a network, one feature of unit length for each stretch of `length` frames.

    Args:
        network: uint8 (units, length, height, width, 3) on the device to (units, dim).
        device: where the network is.
        length: frames of a unit; the last unit of a clip is filled up with zeros.
        networks: what can be compiled.
    """

    def __init__(
        self,
        network: Callable[[Tensor], Tensor],
        device: torch.device,
        length: int,
        networks: Sequence[torch.nn.Module] = (),
    ) -> None:
        self._network, self._device, self._length = network, device, length
        self.networks = networks

    def prepare(self, item: np.ndarray, key: bytes) -> np.ndarray:
        """The frames as they are; nothing is drawn at random."""
        return item

    def encode(self, batch: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Features of each clip, float32 (units, dim)."""
        import torch
        from torch.nn.functional import normalize

        rows: list[list[np.ndarray]] = [[] for _ in batch]
        most = CPU_UNITS if self._device.type == "cpu" else CUDA_UNITS
        for owners, units in _batches(batch, self._length, most):
            features = self._network(torch.from_numpy(units).to(self._device)).float()
            for owner, row in zip(owners, normalize(features).cpu().numpy(), strict=True):
                rows[owner].append(row)
        return [np.stack(units) for units in rows]


def _batches(clips: Sequence[np.ndarray], length: int, most: int) -> Iterator[tuple[list[int], np.ndarray]]:
    """Units of frames of the same size together: (the clip of each, uint8 (units, length, height, width, 3))."""
    owners: list[int] = []
    units: list[np.ndarray] = []
    for owner, clip in enumerate(clips):
        for first in range(0, len(clip), length):
            unit = clip[first : first + length]
            if len(unit) < length:
                unit = np.concatenate([unit, np.zeros((length - len(unit), *unit.shape[1:]), np.uint8)])
            if units and (len(units) == most or unit.shape != units[0].shape):
                yield owners, np.stack(units)
                owners, units = [], []
            owners.append(owner)
            units.append(unit)
    if units:
        yield owners, np.stack(units)


def padded(batch: Sequence[Tensor], pad: int) -> tuple[Tensor, Tensor]:
    """Token ids of several captions, (captions, tokens), and the mask of those that are no padding.

    Args:
        batch: ids of each caption.
        pad: the id of padding.
    """
    import torch
    from torch.nn.utils.rnn import pad_sequence

    ids = pad_sequence(list(batch), batch_first=True, padding_value=pad)
    lengths = torch.tensor([len(tokens) for tokens in batch])
    return ids, (torch.arange(ids.shape[1]) < lengths[:, None]).long()


def mean_over_frames(frames: Tensor, counts: Sequence[int], normalised: bool) -> np.ndarray:
    """Clips from the embeddings of their frames: (clips, dim) unit-length rows.

    Args:
        frames: (frames of all clips, dim).
        counts: frames of each clip.
        normalised: bring each frame's embedding to unit length before the mean.
    """
    import torch
    from torch.nn.functional import normalize

    if normalised:
        frames = normalize(frames, dim=-1)
    return normalize(torch.stack([clip.mean(dim=0) for clip in frames.split(list(counts))]), dim=-1).cpu().numpy()
