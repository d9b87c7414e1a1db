"""WavCaps' retrieval model HTSAT-BERT: sound and text in one space (https://arxiv.org/abs/2303.17395).

The defaults are what audio_egovlp computes, clip by clip, with the checkpoints that WavCaps publishes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from pipeline.checkpoints.official import existing
from stages.embed.encoder import AudioInput, Encoder, EncoderConfig, Tower
from stages.embed.models.bert_files import vocabulary_file

if TYPE_CHECKING:
    import torch

VERSION = 1  # raise it when a change of this code changes rows

SAMPLE_RATE = 32_000


class Config(EncoderConfig):
    """Options of the YAML.

    Attributes:
        checkpoint: the `.pt` file.
        text_model: a folder with `vocab.txt` of bert-base-uncased, or a hub id, of which it is taken from the Hugging
            Face cache or fetched. Clips do not need it.
        max_length_s: what the model hears: longer clips are cropped, shorter ones padded with silence at the end. The
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
    """Sound by HTS-AT, text by BERT."""

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
        from stages.embed.models import wavcaps

        weights = wavcaps.read_checkpoint(existing(self.config.checkpoint))
        return wavcaps.ClipTower(weights, device, self._max_samples(), self.config.seed)

    def load_caption_tower(self, device: torch.device) -> Tower:
        """BERT on the device."""
        from stages.embed.models import bert_words, wavcaps

        tokenizer = bert_words.load_tokenizer(self.config.text_model, "bert-base-uncased")
        weights = wavcaps.read_checkpoint(existing(self.config.checkpoint))
        strips_punctuation = self.config.text_transform == "wavcaps"
        return wavcaps.CaptionTower(weights, tokenizer, device, self.config.max_tokens, strips_punctuation)

    def _max_samples(self) -> int:
        return int(self.config.max_length_s * SAMPLE_RATE)


ENCODER = Wavcaps
