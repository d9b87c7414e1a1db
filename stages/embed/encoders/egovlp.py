"""EgoVLP's FrozenInTime: egocentric video and text in one space (https://arxiv.org/abs/2206.01670).

With the samplings `egovlp-epic` and `egovlp-egomcq` a clip's row is what EgoVLP and audio_egovlp compute for
EPIC-KITCHENS-100 multi-instance retrieval and for EgoMCQ. Rows are not of unit length: the similarity is the cosine.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from pipeline.checkpoints.official import existing
from stages.embed.encoder import Encoder, EncoderConfig, FrameInput, Sampling, Tower
from stages.embed.models.bert_files import vocabulary_file

if TYPE_CHECKING:
    import torch

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
    """Pictures by a space-time ViT-B/16, text by DistilBERT."""

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
        from stages.embed.models import egovlp
        from stages.embed.models.placing import place

        config = self.config
        model = place(egovlp.load(existing(self.config.checkpoint), config.num_frames, "video"), device)
        return egovlp.ClipTower(model, config.num_frames, config.antialias)

    def load_caption_tower(self, device: torch.device) -> Tower:
        """DistilBERT on the device."""
        from stages.embed.models import bert_words, egovlp
        from stages.embed.models.placing import place

        config = self.config
        tokenizer = bert_words.load_tokenizer(config.text_model, "distilbert-base-uncased")
        model = place(egovlp.load(existing(self.config.checkpoint), config.num_frames, "text"), device)
        return egovlp.CaptionTower(model, tokenizer, config.max_tokens)


ENCODER = EgoVLP
