"""The contract of an encoder: two towers, each a CPU half (`prepare`) and a device half (`encode`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, TypeVar, get_args

import numpy as np

from cache.errors import UserError
from cache.rows import RowFormat
from pipeline.config.layout import MODALITIES, TEXT, text_tower
from pipeline.config.records import Settings
from pipeline.monitor.device import Precision

if TYPE_CHECKING:
    import torch


class EncoderConfig(Settings):
    """One YAML under `configs/encoders/`; each family adds its own options.

    Attributes:
        family: module of `stages/embed/encoders/` that implements the encoder, with dashes for underscores.
        precision: in which the networks compute: `fp32`; on a GPU `tf32`, or by torch's autocast `bf16` or `fp16`. It
            changes rows, so that it is part of the fingerprint.
    """

    family: str
    precision: Precision = "fp32"


@dataclass(frozen=True)
class AudioInput:
    """An audio tower: it is given float32 mono samples of shape (n,) in [-1, 1].

    Attributes:
        sample_rate: in Hz; None for that of the extracted audio.
    """

    sample_rate: int | None


Sampling = Literal["middle-of-parts", "first-to-last", "egovlp-epic", "egovlp-egomcq"]
"""Which frames of a clip a tower is given; see `stages/embed/frame_sampling.py`."""


@dataclass(frozen=True)
class FrameInput:
    """A tower of frames: it is given uint8 RGB frames of shape (n, height, width, 3).

    The frames are in playing order and in the video's display orientation. There are `count` of them, with sampling
    `egovlp-epic` as few as its rule finds in a clip at the very start of a video.
    """

    count: int
    sampling: Sampling = "middle-of-parts"


@dataclass(frozen=True)
class FrameRate:
    """A tower of frames at a constant rate: it is given uint8 RGB frames of shape (n, height, width, 3).

    Frame number i of a clip is the one shown in the middle of its i-th period, as FFmpeg's filter `fps` chooses; a
    clip has its seconds times `fps` of them, rounded, and at least one. They are scaled by FFmpeg's filter `scale`, in
    display orientation. Those of a long clip are a memory-mapped array.

    Attributes:
        fps: frames per second.
        short_side: width or height of a frame, whichever is smaller; the other keeps the proportions, rounded down.
            None leaves frames as they are.
        crop: whether the square in the middle is cut out.
    """

    fps: int
    short_side: int | None
    crop: bool = False


@dataclass(frozen=True)
class AudioVideoInput:
    """A tower of both: it is given a pair of samples and frames, as of the two inputs."""

    audio: AudioInput
    frames: FrameInput | FrameRate


ClipInput = AudioInput | FrameInput | FrameRate | AudioVideoInput
"""What a clip tower is given."""

ItemKind = Literal["clips", "captions"]
"""What is embedded."""


class Tower(Protocol):
    """A loaded model that turns items into embeddings.

    It may have an attribute `networks`, a sequence of `torch.nn.Module`: those that `--compile` compiles. `encode` has
    to call each of them as a function.
    """

    def prepare(self, item: Any, key: bytes) -> Any:
        """Does the CPU half: features, crops, tokens. Runs in several threads at once and is deterministic.

        Args:
            item: what the tower's input asks for: samples, frames, or (caption tower) a string.
            key: row key (16 bytes) from which any random draw is seeded.
        """

    def encode(self, batch: Sequence[Any]) -> np.ndarray | list[np.ndarray]:
        """Does the device half for a list of prepared items; the stage calls it in torch's inference mode.

        A row does not depend on the other rows of its batch, up to float rounding.

        Returns:
            float32 array of shape (len(batch), dim); for ragged rows a list of len(batch) arrays (frames, dim).
        """


Draw = Callable[[Sequence[int]], int]
"""Picks one of several positions, each with the same probability."""


def seeded_draw(key: bytes, seed: int) -> Draw:
    """Draws for `prepare` that depend on a row's key and a seed alone, not on which rows came before it.

    `RandomState` is the generator of the reference and, unlike `default_rng`, gives the same numbers in every
    version of numpy.
    """
    words = np.frombuffer(blake2b(key + seed.to_bytes(8, "little", signed=True), digest_size=32).digest(), "<u4")
    generator = np.random.RandomState(words)
    return lambda positions: int(positions[generator.randint(len(positions))])


C = TypeVar("C", bound=EncoderConfig)


class Encoder(ABC, Generic[C]):
    """A named, cheap description of a model: constructing it loads no weights and imports no torch.

    Subclass `Encoder[Config]`; the module offers the subclass as `ENCODER`.

    Attributes:
        config_class: the family's options, from the subclass's type argument.
        towers: names of its towers: `clips` and `captions`, or one of them; see `ModalityEncoder` for more. Each has
            an artifact of its name.
        clip_input: what the clip tower is given.
        dim: length of an embedding, the same for clips and captions.
    """

    config_class: ClassVar[type[EncoderConfig]]
    towers: tuple[str, ...] = ("clips", "captions")
    clip_input: ClipInput
    dim: int

    def __init_subclass__(cls) -> None:
        for base in getattr(cls, "__orig_bases__", ()):
            for argument in get_args(base):
                if isinstance(argument, type) and issubclass(argument, EncoderConfig):
                    cls.config_class = argument

    def __init__(self, config: C) -> None:
        self.config = config

    def row_format(self, tower: str) -> RowFormat:
        """How the rows of a tower are stored: float32 (dim,) unless a family says otherwise."""
        return RowFormat(self.dim)

    def input_of(self, tower: str) -> ClipInput:
        """What a tower of clips is given."""
        return self.clip_input

    def identity(self, tower: str) -> Mapping[str, Any]:
        """Everything that changes the rows of a tower; see `clip_identity`."""
        return self.clip_identity() if tower == "clips" else self.caption_identity()

    def load_tower(self, tower: str, device: torch.device) -> Tower:
        """Loads a tower onto the device."""
        return self.load_clip_tower(device) if tower == "clips" else self.load_caption_tower(device)

    @abstractmethod
    def clip_identity(self) -> Mapping[str, Any]:
        """Everything that changes a clip embedding: options, versions and, as `Path`, the files it reads.

        `pipeline` replaces each path by the digest of the file's bytes and hashes the whole into the
        fingerprint, so neither a path, nor the device, nor a batch size belongs in here. Raise the number
        under the key `version` when a change of the code changes the numbers.
        """

    @abstractmethod
    def caption_identity(self) -> Mapping[str, Any]:
        """The same for a caption embedding."""

    @abstractmethod
    def load_clip_tower(self, device: torch.device) -> Tower:
        """Loads the clip tower onto the device."""

    @abstractmethod
    def load_caption_tower(self, device: torch.device) -> Tower:
        """Loads the caption tower onto the device."""


class ClipEncoder(Encoder[C]):
    """An encoder that has no tower for captions."""

    towers = ("clips",)

    def caption_identity(self) -> Mapping[str, Any]:
        """Not asked for."""
        raise NotImplementedError(f"{type(self).__name__} has no caption tower")

    def load_caption_tower(self, device: torch.device) -> Tower:
        """Not asked for."""
        raise NotImplementedError(f"{type(self).__name__} has no caption tower")


class CaptionEncoder(Encoder[C]):
    """An encoder that has no tower for clips, and no `clip_input`."""

    towers = ("captions",)

    def clip_identity(self) -> Mapping[str, Any]:
        """Not asked for."""
        raise NotImplementedError(f"{type(self).__name__} has no clip tower")

    def load_clip_tower(self, device: torch.device) -> Tower:
        """Not asked for."""
        raise NotImplementedError(f"{type(self).__name__} has no clip tower")


class ModalityEncoder(Encoder[C]):
    """An encoder that embeds several modalities of a clip, each by a tower of its own name.

    Its towers are `audio`, `video`, `audio+video`, or some of them, and for each of these one of texts to compare with
    it: `text-audio` and so on. A name such as `pe-av@video` is the encoder with one of its modalities, which can be
    used wherever an encoder with one clip tower can.

    Attributes:
        inputs: modality -> what its tower is given.
    """

    towers = (*MODALITIES, *(text_tower(modality) for modality in MODALITIES))
    inputs: Mapping[str, ClipInput]

    def __init__(self, config: C, modalities: Sequence[str] = MODALITIES) -> None:
        super().__init__(config)
        chosen = [modality for modality in MODALITIES if modality in modalities]
        self.towers = (*chosen, *(text_tower(modality) for modality in chosen))

    def input_of(self, tower: str) -> ClipInput:
        """What a tower of clips is given."""
        return self.inputs[tower]

    @abstractmethod
    def identity(self, tower: str) -> Mapping[str, Any]:
        """Everything that changes the rows of a tower; see `Encoder.clip_identity`."""

    @abstractmethod
    def load_tower(self, tower: str, device: torch.device) -> Tower:
        """Loads a tower onto the device."""

    def clip_identity(self) -> Mapping[str, Any]:
        """Not asked for: there are several clip towers."""
        raise NotImplementedError

    caption_identity = clip_identity

    def load_clip_tower(self, device: torch.device) -> Tower:
        """Not asked for: there are several clip towers."""
        raise NotImplementedError

    load_caption_tower = load_clip_tower


def items_of(tower: str) -> ItemKind:
    """Whether a tower embeds clips or captions, by its name."""
    return "captions" if tower == "captions" or tower.startswith(TEXT) else "clips"


def clip_tower_of(encoder: Encoder, modality: str | None) -> str:
    """The tower that embeds clips, of an encoder with several the one of a modality; without one, of most of a clip.

    Raises:
        UserError: it has none, or none of this modality.
    """
    towers = [tower for tower in encoder.towers if items_of(tower) == "clips"]
    family = encoder.config.family
    if not towers:
        raise UserError(f"Encoder family {family!r} embeds no clips.")
    if modality is None:
        return towers[-1]
    if modality not in towers:
        has = ", ".join(towers) if isinstance(encoder, ModalityEncoder) else "one tower of clips, with no name"
        raise UserError(f"Encoder family {family!r} has no tower {modality!r}: it has {has}.")
    return modality


def caption_tower_of(encoder: Encoder, modality: str | None) -> str:
    """The tower that embeds texts, of an encoder with several the one for a modality of clips.

    Raises:
        UserError: it has none, or none for this modality.
    """
    if "captions" in encoder.towers:
        return "captions"
    if not any(items_of(tower) == "captions" for tower in encoder.towers):
        raise UserError(f"Encoder family {encoder.config.family!r} embeds no captions.")
    return text_tower(clip_tower_of(encoder, modality))
