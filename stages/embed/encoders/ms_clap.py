"""Microsoft's CLAP of 2023, audio and text in one space (https://arxiv.org/abs/2309.05767).

The defaults are what the package `msclap` 1.3.4 computes, clip by clip and caption by caption, scaled to unit length.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from pipeline.checkpoints.official import existing
from pipeline.checkpoints.text_models import GPT2_END, gpt2_files, load_gpt2_tokenizer
from stages.embed.encoder import AudioInput, Draw, Encoder, EncoderConfig, Tower, seeded_draw
from stages.embed.tower_parts import padded

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pipeline.networks.ms_clap import AudioNetwork, TextNetwork

VERSION = 1  # raise it when a change of this code changes rows

SAMPLE_RATE = 44_100
SAMPLES = 7 * SAMPLE_RATE
POSITIONS = 1024
"""Tokens that GPT-2 takes."""

Crop = Literal["random", "start", "middle"]


class Config(EncoderConfig):
    """Options of the YAML.

    Attributes:
        checkpoint: `CLAP_weights_2023.pth`.
        text_model: a folder with `vocab.json` and `merges.txt` of gpt2, or a hub id, of which they are taken from the
            Hugging Face cache or fetched. Clips need neither.
        crop: which 7 s of a longer clip are embedded: `random` as the package does, `start` or `middle`.
        seed: of the crops drawn from longer clips.
        max_tokens: longer captions are cut before their end mark. The package cuts none, although the model was trained
            on 77 tokens; it fails above GPT-2's 1024.
    """

    checkpoint: Path
    text_model: str = "checkpoints/gpt2"
    crop: Crop = "random"
    seed: int = 0
    max_tokens: Annotated[int, Field(ge=3, le=POSITIONS)] = POSITIONS


class MsClap(Encoder[Config]):
    """Audio by HTS-AT, text by GPT-2."""

    dim = 1024
    clip_input = AudioInput(SAMPLE_RATE)

    def clip_identity(self) -> dict[str, object]:
        """All that decides a clip's row."""
        return {
            "version": VERSION,
            "checkpoint": existing(self.config.checkpoint),
            "crop": self.config.crop,
            **({"seed": self.config.seed} if self.config.crop == "random" else {}),
        }

    def caption_identity(self) -> dict[str, object]:
        """All that decides a caption's row."""
        return {
            "version": VERSION,
            "checkpoint": existing(self.config.checkpoint),
            "text": gpt2_files(self.config.text_model),
            "max_tokens": self.config.max_tokens,
        }

    def load_clip_tower(self, device: torch.device) -> Tower:
        """HTS-AT on the device."""
        from pipeline.networks import ms_clap, packed

        network = ms_clap.AudioNetwork(ms_clap.read_checkpoint(existing(self.config.checkpoint)))
        return ClipTower(packed.place(network, device), device, self.config.crop, self.config.seed)

    def load_caption_tower(self, device: torch.device) -> Tower:
        """GPT-2 on the device."""
        from pipeline.networks import ms_clap, packed

        tokenizer = load_gpt2_tokenizer(self.config.text_model)
        network = ms_clap.TextNetwork(ms_clap.read_checkpoint(existing(self.config.checkpoint)))
        return CaptionTower(packed.place(network, device), tokenizer, device, self.config.max_tokens)


class ClipTower:
    """Audio of any length as 7 s.

    Args:
        network: on the device.
        device: where the network computes.
        crop: which part of a longer clip.
        seed: of random crops.
    """

    def __init__(self, network: AudioNetwork, device: torch.device, crop: Crop, seed: int) -> None:
        self._network, self._device, self._crop, self._seed = network, device, crop, seed
        self.networks = (network.htsat, network.head)

    def prepare(self, item: np.ndarray, key: bytes) -> np.ndarray:
        """(308700,) samples; a random crop is decided by the row key and the seed."""
        return seven_seconds(item, self._crop, seeded_draw(key, self._seed))

    def encode(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        """(clips, 1024) unit-length rows."""
        import torch

        from pipeline.networks.htsat import clips_together

        together = clips_together(self._device, len(batch))
        parts = [np.stack(batch[first : first + together]) for first in range(0, len(batch), together)]
        return np.concatenate([self._network(torch.from_numpy(part).to(self._device)).cpu().numpy() for part in parts])


def seven_seconds(samples: np.ndarray, crop: Crop, draw: Draw) -> np.ndarray:
    """A shorter clip repeated and cut off at 7 s, or 7 s of a longer one.

    Args:
        samples: float32 (n,) mono at 44.1 kHz.
        crop: which part of a longer clip.
        draw: picks the start of a random one. As in the package the very last position is never picked.

    Raises:
        ValueError: there is no sample.
    """
    if len(samples) == 0:
        raise ValueError("a clip needs at least one sample")
    spare = len(samples) - SAMPLES
    if spare <= 0:
        return np.resize(samples, SAMPLES).astype(np.float32, copy=False)
    start = draw(range(spare)) if crop == "random" else spare // 2 if crop == "middle" else 0
    return np.array(samples[start : start + SAMPLES], np.float32)


class CaptionTower:
    """Captions through GPT-2.

    Args:
        network: on the device.
        tokenizer: from `load_gpt2_tokenizer`.
        device: where the network computes.
        max_tokens: longer captions are cut, the end mark included.
    """

    def __init__(self, network: TextNetwork, tokenizer: Any, device: torch.device, max_tokens: int) -> None:
        self._network, self._device, self._max_tokens = network, device, max_tokens
        self.networks = (network.gpt2, network.head)
        self._tokens, self._end = tokenizer, tokenizer.convert_tokens_to_ids(GPT2_END)
        self._tokens.model_max_length = int(1e9)  # cut here, without its warning

    def prepare(self, item: str, key: bytes) -> Tensor:
        """Token ids up to the one whose state becomes the row; nothing is drawn at random.

        The package takes it at the number of ids other than 0, of which its padding consists. `!` is 0 too, so that a
        caption with n of them is embedded without its last n tokens. The model was trained like that, and so is it
        here; GPT-2 attends to earlier tokens alone, which is why later ones can be left out.
        """
        import torch

        ids = self._tokens(f"{item} {GPT2_END}")["input_ids"]
        if len(ids) > self._max_tokens:
            ids = [*ids[: self._max_tokens - 1], self._end]
        return torch.tensor(ids[: sum(token != 0 for token in ids)])

    def encode(self, batch: Sequence[Tensor]) -> np.ndarray:
        """(captions, 1024) unit-length rows."""
        ids, mask = padded(batch, 0)
        return self._network(ids.to(self._device), mask.to(self._device)).cpu().numpy()


ENCODER = MsClap
