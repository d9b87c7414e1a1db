"""Microsoft's CLAPs of 2023 and 2022, audio and text in one space (https://arxiv.org/abs/2309.05767 and 2206.04769).

The defaults are what the package `msclap` 1.3.4 computes, clip by clip and caption by caption, scaled to unit length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from pipeline.checkpoints.official import existing
from pipeline.checkpoints.text_models import (
    GPT2_END,
    gpt2_files,
    load_bert_tokenizer,
    load_gpt2_tokenizer,
    vocabulary_file,
)
from stages.embed.encoder import AudioInput, Draw, Encoder, EncoderConfig, Tower, seeded_draw
from stages.embed.tower_parts import padded

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pipeline.networks.ms_clap import AudioNetwork, TextNetwork

VERSION = 1  # raise it when a change of this code changes rows

SAMPLE_RATE = 44_100
SECONDS = {"2023": 7, "2022": 5}
POSITIONS = {"2023": 1024, "2022": 512}
"""Tokens that GPT-2 and BERT take."""

Crop = Literal["random", "start", "middle"]


class Config(EncoderConfig):
    """Options of the YAML.

    Attributes:
        release: `2023` (HTS-AT, GPT-2, 7 s) or `2022` (Cnn14, BERT, 5 s).
        checkpoint: `CLAP_weights_2023.pth` or `CLAP_weights_2022.pth`.
        text_model: a folder with `vocab.json` and `merges.txt` of gpt2 (2022: `vocab.txt` of bert-base-uncased), or a
            hub id, of which they are taken from the Hugging Face cache or fetched. Clips need neither.
        crop: which seconds of a longer clip are embedded: `random` as the package does, `start` or `middle`.
        seed: of the crops drawn from longer clips.
        max_tokens: longer captions are cut before their end mark. The package cuts none, although the models were
            trained on 77 (2022: 100) tokens; it fails above GPT-2's 1024 (BERT's 512), which is the most here.
    """

    release: Literal["2023", "2022"] = "2023"
    checkpoint: Path
    text_model: str = "checkpoints/gpt2"
    crop: Crop = "random"
    seed: int = 0
    max_tokens: Annotated[int, Field(ge=3, le=1024)] = 1024


class MsClap(Encoder[Config]):
    """Audio by HTS-AT or Cnn14, text by GPT-2 or BERT."""

    dim = 1024
    clip_input = AudioInput(SAMPLE_RATE)

    def clip_identity(self) -> dict[str, object]:
        """All that decides a clip's row."""
        return {
            "version": VERSION,
            "release": self.config.release,
            "checkpoint": existing(self.config.checkpoint),
            "crop": self.config.crop,
            **({"seed": self.config.seed} if self.config.crop == "random" else {}),
        }

    def caption_identity(self) -> dict[str, object]:
        """All that decides a caption's row."""
        name = self.config.text_model
        gpt2 = self.config.release == "2023"
        return {
            "version": VERSION,
            "release": self.config.release,
            "checkpoint": existing(self.config.checkpoint),
            "text": gpt2_files(name) if gpt2 else vocabulary_file(name, "bert-base-uncased"),
            "max_tokens": self._max_tokens(),
        }

    def load_clip_tower(self, device: torch.device) -> Tower:
        """HTS-AT or Cnn14 on the device."""
        from pipeline.networks import ms_clap, packed

        release = self.config.release
        network = ms_clap.AudioNetwork(ms_clap.read_checkpoint(existing(self.config.checkpoint), release), release)
        samples = SECONDS[release] * SAMPLE_RATE
        return ClipTower(packed.place(network, device), device, samples, self.config.crop, self.config.seed)

    def load_caption_tower(self, device: torch.device) -> Tower:
        """GPT-2 or BERT on the device."""
        from pipeline.networks import ms_clap, packed

        release, name = self.config.release, self.config.text_model
        gpt2 = release == "2023"
        tokenizer = load_gpt2_tokenizer(name) if gpt2 else load_bert_tokenizer(name, "bert-base-uncased")
        network = ms_clap.TextNetwork(ms_clap.read_checkpoint(existing(self.config.checkpoint), release), release)
        tokens = partial(gpt2_tokens if gpt2 else bert_tokens, tokenizer, self._max_tokens())
        return CaptionTower(packed.place(network, device), tokens, device)

    def _max_tokens(self) -> int:
        return min(self.config.max_tokens, POSITIONS[self.config.release])


class ClipTower:
    """Audio of any length as the seconds that the model takes.

    Args:
        network: on the device.
        device: where the network computes.
        length: samples that it takes.
        crop: which part of a longer clip.
        seed: of random crops.
    """

    def __init__(self, network: AudioNetwork, device: torch.device, length: int, crop: Crop, seed: int) -> None:
        self._network, self._device, self._length, self._crop, self._seed = network, device, length, crop, seed
        self.networks = (network.branch, network.head)

    def prepare(self, item: np.ndarray, key: bytes) -> np.ndarray:
        """(length,) samples; a random crop is decided by the row key and the seed."""
        return cut(item, self._length, self._crop, seeded_draw(key, self._seed))

    def encode(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        """(clips, 1024) unit-length rows."""
        import torch

        from pipeline.networks.htsat import clips_together

        together = clips_together(self._device, len(batch))
        parts = [np.stack(batch[first : first + together]) for first in range(0, len(batch), together)]
        return np.concatenate([self._network(torch.from_numpy(part).to(self._device)).cpu().numpy() for part in parts])


def cut(samples: np.ndarray, length: int, crop: Crop, draw: Draw) -> np.ndarray:
    """A shorter clip repeated and cut off, or as much of a longer one.

    Args:
        samples: float32 (n,) mono at 44.1 kHz.
        length: of the result.
        crop: which part of a longer clip.
        draw: picks the start of a random one. As in the package the very last position is never picked.

    Raises:
        ValueError: there is no sample.
    """
    if len(samples) == 0:
        raise ValueError("a clip needs at least one sample")
    spare = len(samples) - length
    if spare <= 0:
        return np.resize(samples, length).astype(np.float32, copy=False)
    start = draw(range(spare)) if crop == "random" else spare // 2 if crop == "middle" else 0
    return np.array(samples[start : start + length], np.float32)


class CaptionTower:
    """Captions through GPT-2 or BERT.

    Args:
        network: on the device.
        tokens: the ids of a caption up to the last that the network needs.
        device: where the network computes.
    """

    def __init__(self, network: TextNetwork, tokens: Callable[[str], list[int]], device: torch.device) -> None:
        self._network, self._tokens, self._device = network, tokens, device
        self.networks = (network.branch, network.head)

    def prepare(self, item: str, key: bytes) -> Tensor:
        """Token ids; nothing is drawn at random, so that the row key plays no part."""
        import torch

        return torch.tensor(self._tokens(item))

    def encode(self, batch: Sequence[Tensor]) -> np.ndarray:
        """(captions, 1024) unit-length rows."""
        ids, mask = padded(batch, 0)
        return self._network(ids.to(self._device), mask.to(self._device)).cpu().numpy()


def gpt2_tokens(tokenizer: Any, max_tokens: int, caption: str) -> list[int]:
    """Token ids up to the one whose state becomes the row.

    The package takes it at the number of ids other than 0, of which its padding consists. `!` is 0 too, so that a
    caption with n of them is embedded without its last n tokens. The model was trained like that, and so is it here;
    GPT-2 attends to earlier tokens alone, which is why later ones can be left out.

    Args:
        tokenizer: from `load_gpt2_tokenizer`.
        max_tokens: longer captions are cut, the end mark included.
        caption: any text.
    """
    ids = _kept(tokenizer, max_tokens, f"{caption} {GPT2_END}")
    return ids[: sum(token != 0 for token in ids)]


def bert_tokens(tokenizer: Any, max_tokens: int, caption: str) -> list[int]:
    """Token ids between BERT's two marks; the arguments are those of `gpt2_tokens`."""
    return _kept(tokenizer, max_tokens, caption)


def _kept(tokenizer: Any, max_tokens: int, text: str) -> list[int]:
    """At most so many ids, the last of which is the end mark."""
    ids = list(tokenizer(text)["input_ids"])
    return ids if len(ids) <= max_tokens else [*ids[: max_tokens - 1], ids[-1]]


ENCODER = MsClap
