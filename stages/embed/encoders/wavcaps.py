"""WavCaps' retrieval model HTSAT-BERT: audio and text in one space (https://arxiv.org/abs/2303.17395).

The defaults are what audio_egovlp computes, clip by clip, with the checkpoints that WavCaps publishes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from pipeline.checkpoints.official import existing
from pipeline.checkpoints.text_models import load_bert_tokenizer, vocabulary_file
from stages.embed.encoder import AudioInput, Draw, Encoder, EncoderConfig, Tower, seeded_draw
from stages.embed.tower_parts import padded

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pipeline.networks.wavcaps import AudioNetwork, TextNetwork

VERSION = 1  # raise it when a change of this code changes rows

SAMPLE_RATE = 32_000


class Config(EncoderConfig):
    """Options of the YAML.

    Attributes:
        checkpoint: the `.pt` file.
        text_model: a folder with `vocab.txt` of bert-base-uncased, or a hub id, of which it is taken from the Hugging
            Face cache or fetched. Clips do not need it.
        max_length_s: what the model takes: longer clips are cropped, shorter ones padded with silence at the end. The
            model's image has 1024 frames, so that 10.24 s are too long; a smaller number than 10 is stretched to fit.
        seed: of the crops drawn from longer clips.
        max_tokens: longer captions are cut.
        text_transform: `wavcaps` to embed captions in lower case and without punctuation, as WavCaps trains;
            audio_egovlp has that switched off.
    """

    checkpoint: Path
    text_model: str = "checkpoints/bert-base-uncased"
    max_length_s: Annotated[float, Field(ge=0.1, lt=10.24)] = 10.0
    seed: int = 0
    max_tokens: Annotated[int, Field(ge=3, le=512)] = 30
    text_transform: Literal["none", "wavcaps"] = "none"


class Wavcaps(Encoder[Config]):
    """Audio by HTS-AT, text by BERT."""

    dim = 1024
    clip_input = AudioInput(SAMPLE_RATE)

    def clip_identity(self) -> dict[str, object]:
        """All that decides a clip's row."""
        return {
            "version": VERSION,
            "checkpoint": existing(self.config.checkpoint),
            "max_samples": self._max_samples(),
            "seed": self.config.seed,
        }

    def caption_identity(self) -> dict[str, object]:
        """All that decides a caption's row."""
        return {
            "version": VERSION,
            "checkpoint": existing(self.config.checkpoint),
            "text": vocabulary_file(self.config.text_model, "bert-base-uncased"),
            "max_tokens": self.config.max_tokens,
            "text_transform": self.config.text_transform,
        }

    def load_clip_tower(self, device: torch.device) -> Tower:
        """HTS-AT on the device."""
        from pipeline.networks import packed, wavcaps

        network = wavcaps.AudioNetwork(wavcaps.read_checkpoint(existing(self.config.checkpoint)))
        return ClipTower(packed.place(network, device), device, self._max_samples(), self.config.seed)

    def load_caption_tower(self, device: torch.device) -> Tower:
        """BERT on the device."""
        from pipeline.networks import packed, wavcaps

        tokenizer = load_bert_tokenizer(self.config.text_model, "bert-base-uncased")
        network = wavcaps.TextNetwork(wavcaps.read_checkpoint(existing(self.config.checkpoint)))
        strips_punctuation = self.config.text_transform == "wavcaps"
        return CaptionTower(
            packed.place(network, device), tokenizer, device, self.config.max_tokens, strips_punctuation
        )

    def _max_samples(self) -> int:
        return int(self.config.max_length_s * SAMPLE_RATE)


class ClipTower:
    """Audio of any length: a drawn crop of a longer clip, a shorter one padded with silence.

    Args:
        network: on the device.
        device: where the network computes.
        max_samples: what the network takes at once.
        seed: of the crops.
    """

    def __init__(self, network: AudioNetwork, device: torch.device, max_samples: int, seed: int) -> None:
        self._network, self._device, self._max_samples, self._seed = network, device, max_samples, seed
        self.networks = (network.htsat, network.head)

    def prepare(self, item: np.ndarray, key: bytes) -> np.ndarray:
        """The clip, or the crop of it that the row key and the seed decide."""
        return drawn_crop(item, self._max_samples, seeded_draw(key, self._seed))

    def encode(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        """(clips, 1024) unit-length rows."""
        from pipeline.networks.htsat import clips_together

        together = clips_together(self._device, len(batch))
        parts = [batch[first : first + together] for first in range(0, len(batch), together)]
        return np.concatenate([self._network(self.waveforms(part)).cpu().numpy() for part in parts])

    def waveforms(self, batch: Sequence[np.ndarray]) -> Tensor:
        """(clips, max_samples), silence after the shorter ones."""
        import torch

        waveforms = torch.zeros(len(batch), self._max_samples)
        for row, samples in zip(waveforms, batch, strict=True):
            row[: len(samples)] = torch.from_numpy(samples)
        return waveforms.to(self._device)


def drawn_crop(samples: np.ndarray, max_samples: int, draw: Draw) -> np.ndarray:
    """A copy of a clip of at most `max_samples`, or of that many samples anywhere in a longer one.

    Raises:
        ValueError: there is no sample.
    """
    if len(samples) == 0:
        raise ValueError("a clip needs at least one sample")
    spare = len(samples) - max_samples
    start = draw(range(spare + 1)) if spare > 0 else 0
    return np.array(samples[start : start + max_samples], np.float32)


class CaptionTower:
    """Captions through BERT.

    Args:
        network: on the device.
        tokenizer: of `bert-base-uncased`.
        device: where the network computes.
        max_tokens: longer captions are cut, the two marks at the ends included.
        strips_punctuation: captions are written as WavCaps writes them.
    """

    def __init__(
        self, network: TextNetwork, tokenizer: Any, device: torch.device, max_tokens: int, strips_punctuation: bool
    ) -> None:
        self._network, self._device = network, device
        self.networks = (network.bert, network.head)
        self._rewrite = wavcaps_text if strips_punctuation else str
        self._tokens = partial(tokenizer, truncation=True, max_length=max_tokens)
        self._tokens("")  # sets the truncation up, which is not safe in several threads at once

    def prepare(self, item: str, key: bytes) -> Tensor:
        """Token ids; nothing is drawn at random, so that the row key plays no part."""
        import torch

        return torch.tensor(self._tokens(self._rewrite(item))["input_ids"])

    def encode(self, batch: Sequence[Tensor]) -> np.ndarray:
        """(captions, 1024) unit-length rows."""
        ids, mask = padded(batch, 0)
        return self._network(ids.to(self._device), mask.to(self._device)).cpu().numpy()


_SPACE_BEFORE_PUNCTUATION = re.compile(r'\s([,.!?;:"](?:\s|$))')


_PUNCTUATION = re.compile(r'[(,.!?;:|*")]')


def wavcaps_text(caption: str) -> str:
    """A caption as WavCaps prepares it for training: lower case, a space for each punctuation mark.

    Pairs of spaces become one, once before and once after the marks, as in the original: three in a row leave two.
    """
    closed = _SPACE_BEFORE_PUNCTUATION.sub(r"\1", caption.lower()).replace("  ", " ")
    return _PUNCTUATION.sub(" ", closed).replace("  ", " ")


ENCODER = Wavcaps
