"""AVLnet's towers over prepared features."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.networks.avlnet import FRAMES_PER_STEP, REACH, AvlNet
from stages.avlnet.items import Floats, Sound

SOUNDS_KEPT = 1024
"""Sounds whose part is kept for texts that other threads read later: 8 MB."""

Part = Sound | Floats
Item = tuple[Part, ...]


class SideTower:
    """One side of a network.

    Args:
        embed: from inputs as tensors to (batch, dim); a sound becomes two, frames and their number.
        device: where the network lies.
    """

    def __init__(self, embed: Callable[..., Tensor], device: torch.device) -> None:
        self._embed, self._device = embed, device

    def prepare(self, item: Item, key: bytes) -> Item:
        """Nothing is left to prepare."""
        return item

    @torch.inference_mode()
    def encode(self, batch: Sequence[Item]) -> NDArray[np.float32]:
        """Float32 (len(batch), dim)."""
        inputs: list[Tensor] = []
        for parts in zip(*batch, strict=True):
            inputs += _sounds(parts) if isinstance(parts[0], Sound) else [torch.from_numpy(np.stack(parts))]
        return self._embed(*(one.to(self._device) for one in inputs)).float().cpu().numpy()


class JoinedTower:
    """Sound together with each of its texts: the trunk runs once for a sound, however many texts it has.

    Args:
        net: AVLnet-Text-Fused, on its device.
        device: where it lies.
    """

    def __init__(self, net: AvlNet, device: torch.device) -> None:
        self._net, self._device = net, device
        self._sounds: OrderedDict[bytes, Tensor] = OrderedDict()

    def prepare(self, item: Item, key: bytes) -> Item:
        """Nothing is left to prepare."""
        return item

    @torch.inference_mode()
    def encode(self, batch: Sequence[Item]) -> NDArray[np.float32]:
        """Float32 (len(batch), dim)."""
        heard: list[Any] = [sound for sound, _ in batch]
        wanted = {sound.key: sound for sound in heard}
        known = {key: self._sounds[key] for key in wanted if key in self._sounds}
        new = [key for key in wanted if key not in known]
        if new:
            inputs = (one.to(self._device) for one in _sounds([wanted[key] for key in new]))
            known |= zip(new, self._net.sound_of_joined(*inputs), strict=True)
        for key, sound in known.items():
            self._sounds[key] = sound
            self._sounds.move_to_end(key)
        while len(self._sounds) > SOUNDS_KEPT:
            self._sounds.popitem(last=False)
        sounds = torch.stack([known[sound.key] for sound in heard])
        texts: list[Any] = [words for _, words in batch]
        words = torch.from_numpy(np.stack(texts)).to(self._device)
        return self._net.joined(sounds, words).float().cpu().numpy()


def _sounds(sounds: Sequence[Any]) -> list[Tensor]:
    """Frames (batch, 40, frames) and their numbers; without padding that no step that counts can see."""
    n_frames = torch.tensor([sound.n_frames for sound in sounds])
    length = len(sounds[0].frames)
    frames = np.stack([sound.frames[: seen_frames(int(n_frames.max()), length)] for sound in sounds])
    return [torch.from_numpy(frames).transpose(1, 2), n_frames]


def seen_frames(n_frames: int, length: int) -> int:
    """How many of `length` frames decide the embedding of a sound of `n_frames`: the sound and a margin of padding.

    The network sees the padding as the loudest level there is, so the margin cannot be left out.
    """
    if length % FRAMES_PER_STEP:
        return length
    return min(length, -(-(n_frames + REACH) // FRAMES_PER_STEP) * FRAMES_PER_STEP)
