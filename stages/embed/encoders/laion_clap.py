"""LAION-CLAP, audio and text in one space: from a published `.pt` file or a model of the Hugging Face hub.

The defaults are what audio_egovlp computes, clip by clip, with `630k-audioset-fusion-best.pt`. A published file is the
default because the published numbers come from such files; the models on the hub are conversions of some of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import Field, model_validator

from pipeline.checkpoints import text_models
from pipeline.checkpoints.official import existing
from stages.embed.encoder import AudioInput, Draw, Encoder, EncoderConfig, Tower, seeded_draw
from stages.embed.tower_parts import padded

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pipeline.networks.clap import AudioNetwork, TextNetwork, Views

    Network = TypeVar("Network", AudioNetwork, TextNetwork)

VERSION = 1  # raise it when a change of this code changes rows


class Config(EncoderConfig):
    """Options of the YAML.

    Attributes:
        loader: `published` for a `.pt` file; `package` for the same file through the networks of `laion-clap`, the
            reference, whose rows differ by rounding only and take twice the time; `transformers` for a `ClapModel`.
        checkpoint: the `.pt` file; with `transformers`, a folder with `config.json`, `preprocessor_config.json`, the
            weights and the tokenizer, or a hub id, which is taken from the Hugging Face cache or fetched.
        amodel: audio model of the package: `HTSAT-tiny`, or `HTSAT-base` for the music and speech checkpoints. With
            `transformers`, this and the two next are in the checkpoint's `config.json`, and may not be given.
        fusion: whether the checkpoint embeds clips longer than 10 s through fusion (`*-fusion-*.pt`) or as one crop.
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

    loader: Literal["published", "package", "transformers"] = "published"
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
    def _no_option_twice(self) -> Config:
        given = {"amodel", "fusion", "text_model"} & self.model_fields_set
        if self.loader == "transformers" and given:
            raise ValueError(f"the loader `transformers` takes {', '.join(sorted(given))} from the checkpoint's folder")
        return self


class LaionClap(Encoder[Config]):
    """Audio by HTSAT, text by RoBERTa."""

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
        folder = self._folder() if config.loader == "transformers" else text_models.roberta_folder(config.text_model)
        files = text_models.text_files(folder)
        if config.loader != "transformers":
            files[text_models.CONFIG] = folder / text_models.CONFIG
        return {
            "version": VERSION,
            "checkpoint": network["checkpoint"],
            "text": files,
            "layer_norm_eps": config.layer_norm_eps,
            "max_tokens": config.max_tokens,
        }

    def load_clip_tower(self, device: torch.device) -> Tower:
        """HTSAT on the device."""
        config = self.config
        if config.loader == "transformers":
            from pipeline.networks import clap_transformers

            network = clap_transformers.load_audio(self._folder())
        else:
            checkpoint = existing(Path(config.checkpoint))
            network = self._loader().load_audio(checkpoint, config.amodel, config.fusion, self._shape_of_text())
        return ClipTower(
            self._placed(network, device),
            seed=config.seed,
            fuse_short=config.fuse_short,
            antialias=config.antialias,
            quantise_int16=config.quantise_int16,
        )

    def load_caption_tower(self, device: torch.device) -> Tower:
        """RoBERTa on the device."""
        from pipeline.networks import clap_transformers, laion_clap

        config = self.config
        if config.loader == "transformers":
            folder = self._folder()
            network = clap_transformers.load_text(folder, config.layer_norm_eps)
        else:
            checkpoint, folder = existing(Path(config.checkpoint)), text_models.roberta_folder(config.text_model)
            text = laion_clap.text_config(folder, config.layer_norm_eps)
            network = self._loader().load_text(checkpoint, config.amodel, config.fusion, text)
        return CaptionTower(
            self._placed(network, device), text_models.load_roberta_tokenizer(folder), config.max_tokens
        )

    def _placed(self, network: Network, device: torch.device) -> Network:
        """The network on the device; that of the package is left as it is."""
        from pipeline.networks.packed import place

        return network.to(device) if self.config.loader == "package" else place(network, device)

    def _loader(self) -> Any:
        from pipeline.networks import laion_clap, laion_clap_package

        return laion_clap_package if self.config.loader == "package" else laion_clap

    def _network_identity(self) -> dict[str, object]:
        config = self.config
        if config.loader == "transformers":
            return {"checkpoint": text_models.network_files(self._folder())}
        return {"checkpoint": existing(Path(config.checkpoint)), "amodel": config.amodel, "fusion": config.fusion}

    def _folder(self) -> Path:
        return text_models.clap_folder(str(self.config.checkpoint))

    def _shape_of_text(self) -> Path | None:
        """The folder whose `config.json` says which text branch a checkpoint of clips has beside; roberta-base's."""
        folder = Path(self.config.text_model)
        return folder if (folder / text_models.CONFIG).is_file() else None


class ClipTower:
    """Clips of any length.

    Args:
        network: on its device.
        seed: of the chunks (with fusion) or the crop (without) drawn from clips longer than 10 s.
        fuse_short: also fuse clips that are not longer.
        antialias: smooth the squeezed view of a longer clip.
        quantise_int16: round samples to 16 bits first.
    """

    def __init__(
        self, network: AudioNetwork, *, seed: int, fuse_short: bool, antialias: bool, quantise_int16: bool
    ) -> None:
        self._network, self._seed, self._fuse_short = network, seed, fuse_short
        self._antialias, self._quantise = antialias, quantise_int16
        self.networks = [network]

    def prepare(self, item: np.ndarray, key: bytes) -> Views:
        """The spectrograms of a clip, its crop or chunks drawn from a generator seeded by the row key."""
        return self.views(item, seeded_draw(key, self._seed))

    def views(self, samples: np.ndarray, draw: Draw) -> Views:
        """The spectrograms of a clip, its crop or chunks drawn by a function."""
        return self._network.views(samples, draw, self._antialias, self._quantise)

    def encode(self, batch: Sequence[Views]) -> np.ndarray:
        """(clips, dim) unit-length rows.

        Exactly the clips that are longer are fused, or all, so that a row does not depend on its batch. (In the
        original repository a batch without a longer clip has one fused at random.)
        """
        from pipeline.networks.htsat import clips_together

        together = clips_together(self._network.device, len(batch))
        parts = [batch[first : first + together] for first in range(0, len(batch), together)]
        return np.concatenate([self._network.embed(part, self._fuse_short) for part in parts])


class CaptionTower:
    """Captions through the text branch.

    Args:
        network: on its device.
        tokenizer: from `load_roberta_tokenizer`.
        max_tokens: longer captions are cut, the two marks at the ends included.

    Raises:
        CheckpointError: the tokenizer is not the one of the text branch.
    """

    def __init__(self, network: TextNetwork, tokenizer: Any, max_tokens: int) -> None:
        from pipeline.checkpoints.weights import CheckpointError

        self._network, self.networks = network, [network]
        config = network.branch.config
        marks = (tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id)
        wanted = (config.bos_token_id, config.pad_token_id, config.eos_token_id)
        if len(tokenizer) > config.vocab_size or marks != wanted:
            raise CheckpointError(
                f"the tokenizer has {len(tokenizer)} tokens and its <s>, <pad>, </s> are {marks}, but the text branch "
                f"knows {config.vocab_size} tokens and expects {wanted}: use the files of roberta-base"
            )
        self._pad = wanted[1]
        self._tokens = partial(tokenizer, truncation=True, max_length=max_tokens)
        self._tokens("")  # sets the truncation up, which is not safe in several threads at once

    def prepare(self, item: str, key: bytes) -> Tensor:
        """Token ids; nothing is drawn at random, so that the row key plays no part."""
        import torch

        return torch.tensor(self._tokens(item)["input_ids"])

    def encode(self, batch: Sequence[Tensor]) -> np.ndarray:
        """(captions, dim) unit-length rows."""
        return self.encode_ids(*padded(batch, self._pad))

    def encode_ids(self, ids: Tensor, mask: Tensor) -> np.ndarray:
        """(captions, dim) unit-length rows of padded token ids and their mask."""
        device = self._network.device
        return self._network(ids.to(device), mask.to(device)).float().cpu().numpy()


ENCODER = LaionClap
