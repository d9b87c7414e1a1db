"""LAION-CLAP, sound and text in one space: from a published `.pt` file or a model of the Hugging Face hub.

The defaults are what audio_egovlp computes, clip by clip, with `630k-audioset-fusion-best.pt`. The loader `package` is
the default because the published numbers come from such files; the models on the hub are conversions of some of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from pipeline.checkpoints.official import existing
from stages.embed.encoder import AudioInput, Encoder, EncoderConfig, Tower
from stages.embed.models import clap_files

if TYPE_CHECKING:
    import torch

VERSION = 1  # raise it when a change of this code changes rows


class Config(EncoderConfig):
    """Options of the YAML.

    Attributes:
        loader: `package` for a `.pt` file, through the networks of `laion-clap`; `transformers` for a `ClapModel`.
        checkpoint: the `.pt` file; with `transformers`, a folder with `config.json`, `preprocessor_config.json`, the
            weights and the tokenizer, or a hub id, which is taken from the Hugging Face cache or fetched.
        amodel: audio model of the package: `HTSAT-tiny`, or `HTSAT-base` for the music and speech checkpoints. With
            `transformers`, this and the two next are in the checkpoint's `config.json`, and may not be given.
        fusion: whether the checkpoint hears clips longer than 10 s through fusion (`*-fusion-*.pt`) or as one crop.
        text_model: a folder with `config.json`, `vocab.json` and `merges.txt` of roberta-base, or a hub id, of which
            these are taken from the Hugging Face cache or fetched. Clips need neither.
        layer_norm_eps: of the text branch: 1e-5 as it was trained and as roberta-base says, whatever `config.json`
            says (transformers' own default, 1e-12, moves captions by 1e-4).
        seed: of the chunks (with fusion) or the crop (without) drawn from clips longer than 10 s.
        fuse_short: also send clips of up to 10 s through fusion, as audio_egovlp does at its batch size 1; `false`
            for the behaviour of the package, which fuses longer clips only.
        antialias: smooth the squeezed view of longer clips, as torchvision does from 0.17 on; audio_egovlp's 0.13
            does not.
        quantise_int16: round samples to 16 bits, as the package and audio_egovlp's EgoMCQ loader do; its EPIC loader
            does not.
        max_tokens: longer captions are cut; 512 in audio_egovlp, 77 in the package.
    """

    loader: Literal["package", "transformers"] = "package"
    checkpoint: Path | str
    amodel: str = "HTSAT-tiny"
    fusion: bool = True
    text_model: str = "checkpoints/roberta-base"
    layer_norm_eps: Annotated[float, Field(gt=0)] = 1e-5
    seed: int = 0
    fuse_short: bool = True
    antialias: bool = False
    quantise_int16: bool = False
    max_tokens: Annotated[int, Field(ge=3, le=512)] = 512

    @model_validator(mode="after")
    def _nothing_said_twice(self) -> Config:
        given = {"amodel", "fusion", "text_model"} & self.model_fields_set
        if self.loader == "transformers" and given:
            raise ValueError(f"the loader `transformers` takes {', '.join(sorted(given))} from the checkpoint's folder")
        return self


class LaionClap(Encoder[Config]):
    """Sound by HTSAT, text by RoBERTa."""

    dim = 512
    clip_input = AudioInput(48_000)

    def clip_identity(self) -> dict[str, object]:
        """All that decides a clip's row."""
        config = self.config
        fused = {"fuse_short": config.fuse_short, "antialias": config.antialias}
        return {
            "version": VERSION,
            "seed": config.seed,
            "quantise_int16": config.quantise_int16,
            **(fused if config.fusion else {}),
            **self._network_identity(),
        }

    def caption_identity(self) -> dict[str, object]:
        """All that decides a caption's row."""
        config = self.config
        network = self._network_identity()
        folder = self._folder() if config.loader == "transformers" else clap_files.roberta_folder(config.text_model)
        files = clap_files.text_files(folder)
        if config.loader == "package":
            files[clap_files.CONFIG] = folder / clap_files.CONFIG
        return {
            "version": VERSION,
            "checkpoint": network["checkpoint"],
            "text": files,
            "layer_norm_eps": config.layer_norm_eps,
            "max_tokens": config.max_tokens,
        }

    def load_clip_tower(self, device: torch.device) -> Tower:
        """HTSAT on the device."""
        from stages.embed.models import clap_towers, clap_transformers, laion_clap
        from stages.embed.models.placing import place

        config = self.config
        if config.loader == "transformers":
            network = clap_transformers.load_audio(self._folder())
        else:
            network = laion_clap.load_audio(
                existing(Path(config.checkpoint)), config.amodel, config.fusion, self._shape_of_text()
            )
        return clap_towers.ClipTower(
            place(network, device),
            seed=config.seed,
            fuse_short=config.fuse_short,
            antialias=config.antialias,
            quantise_int16=config.quantise_int16,
        )

    def load_caption_tower(self, device: torch.device) -> Tower:
        """RoBERTa on the device."""
        from stages.embed.models import clap_towers, clap_transformers, laion_clap
        from stages.embed.models.clap_tokenizer import load_tokenizer
        from stages.embed.models.placing import place

        config = self.config
        if config.loader == "transformers":
            folder = self._folder()
            network = clap_transformers.load_text(folder, config.layer_norm_eps)
        else:
            checkpoint, folder = existing(Path(config.checkpoint)), clap_files.roberta_folder(config.text_model)
            text = laion_clap.text_config(folder, config.layer_norm_eps)
            network = laion_clap.load_text(checkpoint, config.amodel, config.fusion, text)
        return clap_towers.CaptionTower(place(network, device), load_tokenizer(folder), config.max_tokens)

    def _network_identity(self) -> dict[str, object]:
        config = self.config
        if config.loader == "transformers":
            return {"checkpoint": clap_files.network_files(self._folder())}
        return {"checkpoint": existing(Path(config.checkpoint)), "amodel": config.amodel, "fusion": config.fusion}

    def _folder(self) -> Path:
        return clap_files.clap_folder(str(self.config.checkpoint))

    def _shape_of_text(self) -> Path | None:
        """The folder whose `config.json` says which text branch a checkpoint of clips has beside; roberta-base's."""
        folder = Path(self.config.text_model)
        return folder if (folder / clap_files.CONFIG).is_file() else None


ENCODER = LaionClap
