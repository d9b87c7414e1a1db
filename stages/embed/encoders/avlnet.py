"""AVLnet over cached features: audio, video and text of a corpus in one space (https://arxiv.org/abs/2006.09199).

It is given features that other encoders have cached, so that its rows come from `stages/embed/features.py` instead of
media. The checkpoint says which variant it is: AVLnet, AVLnet-Text-Tri or AVLnet-Text-Fused.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from cache.errors import UserError
from pipeline.checkpoints.fingerprints import digest_of
from pipeline.checkpoints.official import existing
from pipeline.config import layout
from pipeline.config.params import config_of, training_of
from pipeline.config.records import Settings, named, read_yaml, validate
from pipeline.monitor.device import describe, pick_device
from pipeline.networks.avlnet_inputs import Floats, Spectrogram
from pipeline.runner.dask.worker import FilesDiffer
from pipeline.runner.run import Tower

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pipeline.networks.avlnet import AvlNet

FAMILY = "avlnet"
VERSION = 1  # raise it when a change of this code changes rows

RENAMED = {"sound": "audio", "flat": "features_2d", "moving": "features_3d", "words": "text"}
"""Keys of earlier versions."""

SPECTROGRAMS_KEPT = 1024
"""Spectrograms whose part is kept for texts that other threads read later: 8 MB."""

Item = tuple[Spectrogram | Floats, ...]


class AvlNetConfig(Settings):
    """`configs/encoders/NAME.yaml` of family `avlnet`: the weights, and the features that they are given.

    Attributes:
        family: `avlnet`.
        checkpoint: weights as the authors publish them, or `model.pth` of a training; they say which variant it is.
        audio: encoder whose rows are log-mel spectrograms.
        features_2d: encoder of 2D video features.
        features_3d: encoder of 3D video features.
        text: encoder of word vectors, for AVLnet-Text.
        captions: caption sources whose texts are embedded; all by default.
        digest: of the weights of a training, which writes it so that DVC sees when they change.
        max_frames: spectrograms are padded or cut to so many frames; 5120 for YouCook2, 3072 for MSR-VTT.
        max_words: texts are padded or cut to so many words.
    """

    family: Literal["avlnet"]
    checkpoint: Path
    audio: str = "features/avlnet-spectrogram"
    features_2d: str = "features/resnet152"
    features_3d: str = "features/resnext101-3d"
    text: str | None = None
    captions: tuple[str, ...] | None = None
    digest: str = ""
    max_frames: Annotated[int, Field(ge=16)] = 5120
    max_words: Annotated[int, Field(ge=1)] = 20

    @model_validator(mode="before")
    @classmethod
    def _renamed_keys(cls, options: Any) -> Any:
        for old, new in RENAMED.items():
            if isinstance(options, Mapping) and old in options:
                raise ValueError(f"`{old}` is renamed to `{new}`: run `hearonce migrate`")
        return options

    def identity(self, side: str) -> dict[str, Any]:
        """All that decides a row of a side (`sound`, `picture`, `text`, `sound_text`), beside its features."""
        identity: dict[str, Any] = {"version": VERSION, "checkpoint": self.checkpoint, "side": side}
        if side.startswith("sound"):
            identity["max_frames"] = self.max_frames
        if side.endswith("text"):
            identity["max_words"] = self.max_words
        return identity


def load_avlnet_config(corpus: str, name: str) -> AvlNetConfig:
    """Reads the YAML of an AVLnet.

    Args:
        corpus: that it embeds.
        name: of a YAML in `configs/encoders/`, or `CONFIG@TRAINING` for the weights that a training makes.

    Raises:
        UserError: no such encoder, or it is of another family.
    """
    path, training = encoder_file(name), training_of(name)
    options: dict[str, Any] = read_yaml(path)
    if options.get("family") != FAMILY:
        raise UserError(f"{path} is of family {options.get('family')!r}, not {FAMILY!r}.")
    if training is not None and path.name != TRAINED:
        options["checkpoint"] = layout.training(training) / "model.pth"
    return validate(options, AvlNetConfig, path)


TRAINED = "encoder.yaml"
"""What a training writes beside its weights."""


def encoder_file(name: str) -> Path:
    """The YAML of an AVLnet: that of the training which made its weights, or of `configs/encoders/`."""
    training = training_of(name)
    if training is not None and (made := layout.training(training) / TRAINED).is_file():
        return made
    return named("encoders", config_of(name))


@dataclass(frozen=True)
class SideLoader:
    """Loads one side of an AVLnet.

    Attributes:
        checkpoint: its weights.
        digest: of the checkpoint's bytes, wherever it is loaded.
        side: which.
        device: `cpu`, `cuda`, ...; a GPU if any by default.
    """

    checkpoint: Path
    digest: str
    side: str
    device: str | None

    def __call__(self) -> tuple[Tower, Mapping[str, Any]]:
        """The side's network, and what describes the device.

        Raises:
            UserError: it cannot be loaded, or is not the one that the run was planned with.
        """
        device = pick_device(self.device)
        self._check()
        net = network(self.checkpoint).to(device)
        joined = self.side == "sound_text"
        tower = JoinedTower(net, device) if joined else SideTower(getattr(net, self.side), device)
        self._check()  # it may have been replaced meanwhile
        return tower, describe(device)

    def _check(self) -> None:
        if digest_of(existing(self.checkpoint)) != self.digest:
            raise FilesDiffer()


def network(checkpoint: Path) -> AvlNet:
    """The network of a checkpoint, loaded once for all its sides.

    Raises:
        UserError: the file is missing or is none.
    """
    return _network(existing(checkpoint), digest_of(checkpoint))


@lru_cache(1)
def _network(checkpoint: Path, digest: str) -> AvlNet:
    from pipeline.networks.avlnet import load_avlnet

    return load_avlnet(checkpoint)


class SideTower:
    """One side of a network.

    Args:
        embed: from inputs as tensors to (batch, dim); a spectrogram becomes two, frames and their number.
        device: where the network lies.
    """

    def __init__(self, embed: Callable[..., Tensor], device: torch.device) -> None:
        self._embed, self._device = embed, device

    def prepare(self, item: Item, key: bytes) -> Item:
        """Nothing is left to prepare."""
        return item

    def encode(self, batch: Sequence[Item]) -> NDArray[np.float32]:
        """Float32 (len(batch), dim)."""
        import torch

        inputs: list[Tensor] = []
        for parts in zip(*batch, strict=True):
            inputs += _spectrograms(parts) if isinstance(parts[0], Spectrogram) else [torch.from_numpy(np.stack(parts))]
        with torch.inference_mode():
            return self._embed(*(tensor.to(self._device) for tensor in inputs)).float().cpu().numpy()


class JoinedTower:
    """Audio together with each of its texts: the trunk runs once for a spectrogram, however many texts it has.

    Args:
        net: AVLnet-Text-Fused, on its device.
        device: where it lies.
    """

    def __init__(self, net: AvlNet, device: torch.device) -> None:
        self._net, self._device = net, device
        self._kept: OrderedDict[bytes, Tensor] = OrderedDict()

    def prepare(self, item: Item, key: bytes) -> Item:
        """Nothing is left to prepare."""
        return item

    def encode(self, batch: Sequence[Item]) -> NDArray[np.float32]:
        """Float32 (len(batch), dim)."""
        import torch

        spectrograms: list[Any] = [spectrogram for spectrogram, _ in batch]
        wanted = {spectrogram.key: spectrogram for spectrogram in spectrograms}
        known = {key: self._kept[key] for key in wanted if key in self._kept}
        new = [key for key in wanted if key not in known]
        with torch.inference_mode():
            if new:
                inputs = (tensor.to(self._device) for tensor in _spectrograms([wanted[key] for key in new]))
                known |= zip(new, self._net.sound_of_joined(*inputs), strict=True)
            for key, part in known.items():
                self._kept[key] = part
                self._kept.move_to_end(key)
            while len(self._kept) > SPECTROGRAMS_KEPT:
                self._kept.popitem(last=False)
            audio = torch.stack([known[spectrogram.key] for spectrogram in spectrograms])
            texts: list[Any] = [words for _, words in batch]
            words = torch.from_numpy(np.stack(texts)).to(self._device)
            return self._net.joined(audio, words).float().cpu().numpy()


def _spectrograms(spectrograms: Sequence[Any]) -> list[Tensor]:
    """Frames (batch, 40, frames) and their numbers; without padding that no step that counts can see."""
    import torch

    n_frames = torch.tensor([spectrogram.n_frames for spectrogram in spectrograms])
    length = len(spectrograms[0].frames)
    seen = seen_frames(int(n_frames.max()), length)
    frames = np.stack([spectrogram.frames[:seen] for spectrogram in spectrograms])
    return [torch.from_numpy(frames).transpose(1, 2), n_frames]


def seen_frames(n_frames: int, length: int) -> int:
    """How many of `length` frames decide the embedding of audio of `n_frames`: the audio and a margin of padding.

    The network sees the padding as the loudest level there is, so the margin cannot be left out.
    """
    from pipeline.networks.avlnet import FRAMES_PER_STEP, REACH

    if length % FRAMES_PER_STEP:
        return length
    return min(length, -(-(n_frames + REACH) // FRAMES_PER_STEP) * FRAMES_PER_STEP)
