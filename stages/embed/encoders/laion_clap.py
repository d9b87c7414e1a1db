"""LAION-CLAP, sound and text in one space, by the `laion-clap` package from a checkpoint of yours.

The defaults are what audio_egovlp computes, clip by clip, with `630k-audioset-fusion-best.pt`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from cache.errors import UserError
from stages.embed.encoder import AudioInput, Encoder, EncoderConfig, Tower

if TYPE_CHECKING:
    import torch

VERSION = 1  # raise it when a change of this code changes rows
TEXT_FILES = (
    "config.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)


class Config(EncoderConfig):
    """Options of the YAML.

    Attributes:
        checkpoint: the `.pt` file.
        amodel: audio model of the package: `HTSAT-tiny`, or `HTSAT-base` for the music and speech checkpoints.
        fusion: whether the checkpoint hears clips longer than 10 s through fusion (`*-fusion-*.pt`) or as one crop.
        text_model: a folder with `config.json`, `vocab.json` and `merges.txt` of roberta-base, or a hub id, of which
            the tokenizer is taken from the Hugging Face cache or fetched. Clips need neither.
        seed: of the chunks (with fusion) or the crop (without) drawn from clips longer than 10 s.
        fuse_short: also send clips of up to 10 s through fusion, as audio_egovlp does at its batch size 1; `false`
            for the behaviour of the package, which fuses longer clips only.
        antialias: smooth the squeezed view of longer clips, as torchvision does from 0.17 on; audio_egovlp's 0.13
            does not.
        quantise_int16: round samples to 16 bits, as the package and audio_egovlp's EgoMCQ loader do; its EPIC loader
            does not.
        max_tokens: longer captions are cut; 512 in audio_egovlp, 77 in the package.
    """

    checkpoint: Path
    amodel: str = "HTSAT-tiny"
    fusion: bool = True
    text_model: str = "roberta-base"
    seed: int = 0
    fuse_short: bool = True
    antialias: bool = False
    quantise_int16: bool = False
    max_tokens: Annotated[int, Field(ge=3, le=512)] = 512


class LaionClap(Encoder[Config]):
    """Sound by HTSAT, text by RoBERTa."""

    dim = 512
    clip_input = AudioInput(48_000)

    def clip_identity(self) -> dict[str, object]:
        """All that decides a clip's row."""
        config = self.config
        fused = {"fuse_short": config.fuse_short, "antialias": config.antialias} if config.fusion else {}
        return {
            "version": VERSION,
            "checkpoint": self._checkpoint(),
            "amodel": config.amodel,
            "fusion": config.fusion,
            "seed": config.seed,
            "quantise_int16": config.quantise_int16,
            **fused,
        }

    def caption_identity(self) -> dict[str, object]:
        """All that decides a caption's row."""
        folder = self._text_folder()
        files = {name: folder / name for name in TEXT_FILES if (folder / name).is_file()} if folder else {}
        return {
            "version": VERSION,
            "checkpoint": self._checkpoint(),
            "text": files or self.config.text_model,
            "max_tokens": self.config.max_tokens,
        }

    def load_clip_tower(self, device: torch.device) -> Tower:
        """HTSAT on the device."""
        from stages.embed.models import clap_towers, laion_clap

        config = self.config
        model = laion_clap.load(self._checkpoint(), config.amodel, config.fusion, self._text_folder(), "audio")
        model.to(device)
        if not config.fusion:
            return clap_towers.WaveformTower(model, seed=config.seed, quantise_int16=config.quantise_int16)
        return clap_towers.FusionTower(
            model,
            seed=config.seed,
            fuse_short=config.fuse_short,
            antialias=config.antialias,
            quantise_int16=config.quantise_int16,
        )

    def load_caption_tower(self, device: torch.device) -> Tower:
        """RoBERTa on the device."""
        from stages.embed.models import clap_towers, laion_clap

        config = self.config
        checkpoint = self._checkpoint()
        tokenizer = clap_towers.load_tokenizer(config.text_model)
        model = laion_clap.load(checkpoint, config.amodel, config.fusion, self._text_folder(), "text")
        return clap_towers.CaptionTower(model.to(device), tokenizer, config.max_tokens)

    def _checkpoint(self) -> Path:
        path = self.config.checkpoint
        if not path.exists():
            raise UserError(
                f"Checkpoint not found: {path}. Published ones are at https://huggingface.co/lukewys/laion_clap "
                "(audio_egovlp uses 630k-audioset-fusion-best.pt): put it there, or correct `checkpoint` in the "
                "encoder's YAML."
            )
        return path

    def _text_folder(self) -> Path | None:
        folder = Path(self.config.text_model)
        return folder if folder.is_dir() else None


ENCODER = LaionClap
