"""EgoVLP's FrozenInTime: egocentric video and text in one space (https://arxiv.org/abs/2206.01670).

With the samplings `egovlp-epic` and `egovlp-egomcq` a clip's row is what EgoVLP and audio_egovlp compute for
EPIC-KITCHENS-100 multi-instance retrieval and for EgoMCQ. Rows are not of unit length: the similarity is the cosine.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from pipeline.checkpoints.official import existing
from pipeline.checkpoints.text_models import load_bert_tokenizer, vocabulary_file
from stages.embed.encoder import Encoder, EncoderConfig, FrameInput, Sampling, Tower
from stages.embed.tower_parts import padded

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pipeline.networks.egovlp import FrozenInTime

VERSION = 1  # raise it when a change of this code changes rows


class Config(EncoderConfig):
    """Options of the YAML.

    Attributes:
        checkpoint: the `.pth` file. The ImageNet file that EgoVLP reads as well is not needed.
        num_frames: frames of a clip: 16 in EgoVLP's EPIC-KITCHENS config, 4 in its EgoMCQ config. A checkpoint may know
            another number: extra frames get no temporal embedding, superfluous ones are cut, as in EgoVLP.
        sampling: which frames: `egovlp-epic` by the annotations' frame numbers, `egovlp-egomcq` by seconds at 30 frames
            per second in chunks of 600 s, or `middle-of-parts` of clips of any video. The first two give the very
            frames that EgoVLP's readers give, even where these miss by one.
        antialias: smooth while scaling frames down, as torchvision does from 0.17 on; EgoVLP's and audio_egovlp's
            versions do not.
        text_model: a folder with `vocab.txt` of distilbert-base-uncased, or a hub id, of which it is taken from the
            Hugging Face cache or fetched. Clips do not need it.
        max_tokens: longer captions are cut.
    """

    checkpoint: Path
    num_frames: Annotated[int, Field(ge=1, le=64)] = 16
    sampling: Sampling = "middle-of-parts"
    antialias: bool = False
    text_model: str = "checkpoints/distilbert-base-uncased"
    max_tokens: Annotated[int, Field(ge=3, le=512)] = 512


class EgoVLP(Encoder[Config]):
    """Frames by a space-time ViT-B/16, text by DistilBERT."""

    dim = 256

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.clip_input = FrameInput(config.num_frames, config.sampling)

    def clip_identity(self) -> dict[str, object]:
        """All that decides a clip's row."""
        config = self.config
        return {
            "version": VERSION,
            "checkpoint": existing(self.config.checkpoint),
            "num_frames": config.num_frames,
            "sampling": config.sampling,
            "antialias": config.antialias,
        }

    def caption_identity(self) -> dict[str, object]:
        """All that decides a caption's row."""
        return {
            "version": VERSION,
            "checkpoint": existing(self.config.checkpoint),
            "text": vocabulary_file(self.config.text_model, "distilbert-base-uncased"),
            "max_tokens": self.config.max_tokens,
        }

    def load_clip_tower(self, device: torch.device) -> Tower:
        """The space-time transformer on the device."""
        from pipeline.networks import egovlp, packed

        config = self.config
        model = packed.place(egovlp.load(existing(config.checkpoint), config.num_frames, "video"), device)
        return ClipTower(model, config.num_frames, config.antialias)

    def load_caption_tower(self, device: torch.device) -> Tower:
        """DistilBERT on the device."""
        from pipeline.networks import egovlp, packed

        config = self.config
        tokenizer = load_bert_tokenizer(config.text_model, "distilbert-base-uncased")
        model = packed.place(egovlp.load(existing(config.checkpoint), config.num_frames, "text"), device)
        return CaptionTower(model, tokenizer, config.max_tokens)


class ClipTower:
    """Clips through the space-time transformer.

    Args:
        model: with its video tower.
        num_frames: frames of a clip.
        antialias: of the scaling.
    """

    def __init__(self, model: FrozenInTime, num_frames: int, antialias: bool) -> None:
        self._model, self._num_frames, self._antialias = model, num_frames, antialias
        self.networks = [model.video_model]

    def prepare(self, item: np.ndarray, key: bytes) -> Tensor:
        """Scaled and normalised frames; nothing is drawn at random, so that the row key plays no part."""
        from pipeline.networks.egovlp import network_input

        return network_input(item, self._num_frames, self._antialias)

    def encode(self, batch: Sequence[Tensor]) -> np.ndarray:
        """(clips, 256) rows; on the CPU clip by clip, where a batch would only take memory."""
        import torch

        parts = [[clip] for clip in batch] if self._model.device.type == "cpu" else [list(batch)]
        return np.concatenate([self._model.embed_frames(torch.stack(part)) for part in parts])


class CaptionTower:
    """Captions through DistilBERT.

    Args:
        model: with its text tower.
        tokenizer: from `load_bert_tokenizer`.
        max_tokens: longer captions are cut, the two marks at the ends included.
    """

    def __init__(self, model: FrozenInTime, tokenizer: Any, max_tokens: int) -> None:
        self._model, self._pad = model, tokenizer.pad_token_id
        self.networks = [model.text_model]
        self._tokens = partial(tokenizer, truncation=True, max_length=max_tokens)
        self._tokens("")  # sets the truncation up, which is not safe in several threads at once

    def prepare(self, item: str, key: bytes) -> Tensor:
        """Token ids; nothing is drawn at random, so that the row key plays no part."""
        import torch

        return torch.tensor(self._tokens(item)["input_ids"])

    def encode(self, batch: Sequence[Tensor]) -> np.ndarray:
        """(captions, 256) rows."""
        return self._model.embed_ids(*padded(batch, self._pad))

    def encode_ids(self, ids: Tensor, mask: Tensor) -> np.ndarray:
        """(captions, 256) rows of padded token ids and their mask."""
        return self._model.embed_ids(ids, mask)


ENCODER = EgoVLP
