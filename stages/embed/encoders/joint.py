"""An encoder of audio and one of video that share a text space, as one encoder of audio, video and both.

Each keeps its own towers and rows: what the two have embedded by themselves is not computed again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from cache.errors import UserError
from pipeline.checkpoints.fingerprints import fingerprint_of
from pipeline.config.layout import TEXT
from stages.embed.encoder import (
    AudioInput,
    AudioVideoInput,
    EncoderConfig,
    FrameInput,
    FrameRate,
    ModalityEncoder,
    Tower,
)

if TYPE_CHECKING:
    import torch

VERSION = 1  # of audio+video; raise it when a change of this code changes rows


class Config(EncoderConfig):
    """Options of the YAML.

    Attributes:
        audio: name of the encoder of audio.
        video: name of the encoder of video.
        audio_share: of the audio in a row of both: the mean of two rows of unit length, which is then of unit length.
        modalities: which towers there are.
    """

    audio: str
    video: str
    audio_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    modalities: tuple[Literal["audio", "video", "audio+video"], ...] = ("audio", "video", "audio+video")


class Joint(ModalityEncoder[Config]):
    """Audio by one encoder, video by another, whose texts are embedded alike; both together as their mean.

    Raises:
        UserError: the two embed texts differently, or other things than audio and video.
    """

    def __init__(self, config: Config) -> None:
        from stages.embed.registry import load_encoder

        super().__init__(config, config.modalities)
        self.parts = {"audio": load_encoder(config.audio), "video": load_encoder(config.video)}
        audio, frames = (part.input_of("clips") for part in self.parts.values())
        if not isinstance(audio, AudioInput) or not isinstance(frames, FrameInput | FrameRate):
            raise UserError(
                f"An encoder of family joint needs an encoder of audio as `audio` and one of video as `video`: "
                f"{config.audio!r} or {config.video!r} is none."
            )
        self.inputs = {"audio": audio, "video": frames, "audio+video": AudioVideoInput(audio, frames)}
        self.dim = self.parts["audio"].dim

    def identity(self, tower: str) -> Mapping[str, Any]:
        """That of the part whose tower it is, so that both have the same rows; of audio+video that of both parts."""
        self._check_space()
        if tower.startswith(TEXT):
            return self.parts["audio"].caption_identity()
        if tower in self.parts:
            return self.parts[tower].clip_identity()
        clips = {name: part.clip_identity() for name, part in self.parts.items()}
        return {"version": VERSION, "audio_share": self.config.audio_share, **clips}

    def load_tower(self, tower: str, device: torch.device) -> Tower:
        """That of the part whose tower it is; of audio+video both."""
        self._check_space()
        if tower.startswith(TEXT):
            return self.parts["audio"].load_caption_tower(device)
        if tower in self.parts:
            return self.parts[tower].load_clip_tower(device)
        return MeanTower([part.load_clip_tower(device) for part in self.parts.values()], self.config.audio_share)

    @cached_property
    def _spaces(self) -> tuple[str, str]:
        audio, video = (fingerprint_of(part.caption_identity())[0] for part in self.parts.values())
        return audio, video

    def _check_space(self) -> None:
        if len(set(self._spaces)) > 1:
            raise UserError(
                f"Encoders {self.config.audio!r} and {self.config.video!r} embed texts differently, and their clips "
                "cannot be compared: name two with the same text model."
            )


class MeanTower:
    """Both rows of a clip as their mean.

    Args:
        towers: of audio and of video.
        audio_share: of the audio.
    """

    def __init__(self, towers: Sequence[Tower], audio_share: float) -> None:
        self._towers, self._shares = towers, (audio_share, 1 - audio_share)
        self.networks = [network for tower in towers for network in getattr(tower, "networks", ())]

    def prepare(self, item: tuple[np.ndarray, np.ndarray], key: bytes) -> tuple[Any, Any]:
        """What each tower prepares of samples and frames."""
        audio, video = (tower.prepare(part, key) for tower, part in zip(self._towers, item, strict=True))
        return audio, video

    def encode(self, batch: Sequence[tuple[Any, Any]]) -> np.ndarray:
        """(clips, dim) float32 rows of unit length."""
        parts = [[item[which] for item in batch] for which in range(len(self._towers))]
        rows = [np.asarray(tower.encode(part)) for tower, part in zip(self._towers, parts, strict=True)]
        mean = sum(share * _unit(part) for share, part in zip(self._shares, rows, strict=True))
        return _unit(np.asarray(mean)).astype(np.float32)


def _unit(rows: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    return rows / np.maximum(lengths, np.finfo(np.float64).tiny)


ENCODER = Joint
