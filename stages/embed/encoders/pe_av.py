"""PE-AV: audio, video, both together and text in one model, by a hub id or a local folder.

Vyas et al., 2025 (arXiv 2512.19687). Each pairing has a text tower of its own; similarities are dot products of rows as
they are (`similarity: dot`), by the logits of the model, or their cosines, as mteb compares them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from cache.errors import UserError
from pipeline.checkpoints import hub as hub_files
from pipeline.checkpoints.official import fetch_or
from pipeline.config.layout import TEXT
from pipeline.monitor.problems import ItemError
from stages.embed.encoder import (
    AudioInput,
    AudioVideoInput,
    EncoderConfig,
    FrameInput,
    FrameRate,
    ModalityEncoder,
    Tower,
)
from stages.embed.tower_parts import padded

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pipeline.networks.pe_av import Network

VERSION = 1  # raise it when a change of this code changes rows
SAMPLE_RATE = 48_000
HOP = 1920
"""Samples that one position of the audio encoder stands for."""
PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json")
TEXT_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
MAX_TOKENS = 512


class Config(EncoderConfig):
    """Options of the YAML.

    Attributes:
        model: a hub id such as `facebook/pe-av-small`, which is taken from the Hugging Face cache or fetched, or a
            folder with the same files: `config.json`, `processor_config.json`, the tokenizer's, `model.safetensors`.
        dim: length of the model's embeddings.
        frames: frames per clip, the first, the last and those between, as models named `-16-frame` were trained.
        fps: frames per second instead, as the others were trained (at 30; mteb evaluates them at 2).
        text_pooling: whether a text's row is taken `before-norm`, as Meta's code and mteb do, or `after-norm`, as
            transformers 5 does.
        modalities: which towers there are.
    """

    model: str
    dim: Annotated[int, Field(ge=1)] = 1024
    frames: Annotated[int, Field(ge=2)] | None = None
    fps: Annotated[int, Field(ge=1)] | None = None
    text_pooling: Literal["before-norm", "after-norm"] = "before-norm"
    modalities: tuple[Literal["audio", "video", "audio+video"], ...] = ("audio", "video", "audio+video")

    @model_validator(mode="after")
    def _frames_or_fps(self) -> Config:
        if (self.frames is None) == (self.fps is None):
            raise ValueError("give either `frames` (16 for models named -16-frame) or `fps` (30 for the others)")
        return self


class PeAv(ModalityEncoder[Config]):
    """Audio by a codec's encoder and a transformer, frames by PE-Core and a transformer, both by a third one."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, config.modalities)
        self.dim = config.dim
        audio = AudioInput(SAMPLE_RATE)
        frames = FrameRate(config.fps, None) if config.fps else FrameInput(config.frames or 0, "first-to-last")
        self.inputs = {"audio": audio, "video": frames, "audio+video": AudioVideoInput(audio, frames)}

    def identity(self, tower: str) -> Mapping[str, Any]:
        """All that decides a row of the tower."""
        shared = {"version": VERSION, "tower": tower, **self._model_files}
        if tower.startswith(TEXT):
            return {**shared, "tokenizer": self._present(TEXT_FILES), "pooling": self.config.text_pooling}
        shared["processor"] = self._present(PROCESSOR_FILES)
        if "video" in tower:
            shared |= {"frames": self.config.frames, "fps": self.config.fps}
        return shared

    def load_tower(self, tower: str, device: torch.device) -> Tower:
        """The tower on the device."""
        self.identity(tower)  # names missing files before torch is imported
        from pipeline.networks.packed import place
        from pipeline.networks.pe_av import load, load_processor

        weights = self._model_files["weights"].values()
        network = place(load(self._folder, weights, tower, self.config.text_pooling), device)
        processor = load_processor(self._folder)
        if tower.startswith(TEXT):
            return TextTower(network, processor.tokenizer, device)
        return ClipTower(network, processor, tower, device)

    @cached_property
    def _folder(self) -> Path:
        files = ("config.json", *PROCESSOR_FILES, *TEXT_FILES)
        return hub_files.local_folder(self.config.model, files, self._remedy, hub_files.TRANSFORMERS)

    @cached_property
    def _model_files(self) -> dict[str, Any]:
        config = self._folder / "config.json"
        weights = hub_files.weight_files(self._folder, hub_files.TRANSFORMERS, self._remedy)
        settings = hub_files.read_json(config)
        if (kind := settings.get("model_type")) != "pe_audio_video":
            raise UserError(f"{config} describes a model of type {kind!r}, not pe_audio_video: {self._remedy}.")
        dim = int((settings.get("text_config") or {}).get("hidden_size", 1024))
        if dim != self.config.dim:
            raise UserError(f"{config} gives embeddings of length {dim}: write `dim: {dim}` in the encoder's YAML.")
        for names in (PROCESSOR_FILES, TEXT_FILES):
            if not self._present(names):
                raise UserError(f"{self._folder} has no {names[0]}: {self._remedy}.")
        return {"config": config, "weights": {path.name: path for path in weights}}

    def _present(self, names: tuple[str, ...]) -> dict[str, Path]:
        return {name: self._folder / name for name in names if (self._folder / name).is_file()}

    @property
    def _remedy(self) -> str:
        return fetch_or(
            self.config.model,
            f"put config.json, processor_config.json, model.safetensors and the tokenizer's files of "
            f"https://huggingface.co/{self.config.model} into a folder and name it as `model` in the encoder's YAML",
        )


class ClipTower:
    """Samples, frames, or both through the encoder of their modality.

    Clips of one batch that differ in length are encoded one after another: what follows the end of a padded clip would
    reach its last positions through the codec's convolutions.

    Args:
        network: from `pe_av.load`.
        processor: from `pe_av.load_processor`.
        tower: `audio`, `video` or `audio+video`.
        device: of the network.
    """

    def __init__(self, network: Network, processor: Any, tower: str, device: torch.device) -> None:
        self._network, self._processor, self._tower, self._device = network, processor, tower, device
        self.networks = [network]
        both = network.encoder.config
        audio = getattr(both, "audio_config", both)
        self._most_samples = (audio.max_position_embeddings - 1) * HOP

    def prepare(self, item: Any, key: bytes) -> dict[str, Tensor]:
        """The processor's tensors of one clip; nothing is drawn at random, so that the row key plays no part.

        Raises:
            ItemError: the clip has more audio than the model has positions for.
        """
        samples, frames = item if self._tower == "audio+video" else (item, item)
        inputs = {}
        if "audio" in self._tower:
            if len(samples) > self._most_samples:
                raise ItemError(
                    f"{len(samples) / SAMPLE_RATE:.0f} s of audio are more than PE-AV's "
                    f"{self._most_samples / SAMPLE_RATE:.0f} s: cut the media into windows (`window_s` of the corpus)"
                )
            extractor = self._processor.feature_extractor
            inputs["input_values"] = extractor(samples, sampling_rate=SAMPLE_RATE, return_tensors="pt")["input_values"]
        if "video" in self._tower:
            pixels = self._processor.video_processor([_channels_first(frames)], return_tensors="pt")
            inputs["pixel_values_videos"] = pixels["pixel_values_videos"]
        return inputs

    def encode(self, batch: Sequence[dict[str, Tensor]]) -> np.ndarray:
        """(clips, dim) rows as the model has them, not of unit length."""
        import torch

        alike: dict[tuple[torch.Size, ...], list[int]] = {}
        for number, inputs in enumerate(batch):
            alike.setdefault(tuple(value.shape for value in inputs.values()), []).append(number)
        rows: list[np.ndarray] = [np.empty(0)] * len(batch)
        for numbers in alike.values():
            inputs = {
                name: torch.cat([batch[number][name] for number in numbers]).to(self._device) for name in batch[0]
            }
            for number, row in zip(numbers, self._network(inputs).float().cpu().numpy(), strict=True):
                rows[number] = row
        return np.stack(rows)


def _channels_first(frames: np.ndarray) -> Tensor:
    """Uint8 (n, height, width, 3) to (n, 3, height, width)."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)


class TextTower:
    """Captions through ModernBERT and the head of one pairing; longer ones are cut, as in training.

    Args:
        network: from `pe_av.load`.
        tokenizer: of the processor.
        device: of the network.
    """

    def __init__(self, network: Network, tokenizer: Any, device: torch.device) -> None:
        from pipeline.checkpoints.weights import CheckpointError

        self._network, self._tokenizer, self._device = network, tokenizer, device
        self.networks = [network]
        vocabulary = network.encoder.config.vocab_size
        if len(tokenizer) > vocabulary or tokenizer.pad_token_id is None:
            raise CheckpointError(
                f"the tokenizer has {len(tokenizer)} tokens and pads with {tokenizer.pad_token_id}, but config.json "
                f"describes {vocabulary} tokens: the files are of different models"
            )
        self.prepare("", b"")  # sets truncation up, which is not safe in several threads at once

    def prepare(self, item: str, key: bytes) -> Tensor:
        """Token ids; nothing is drawn at random, so that the row key plays no part."""
        import torch

        return torch.tensor(self._tokenizer(item, truncation=True, max_length=MAX_TOKENS)["input_ids"])

    def encode(self, batch: Sequence[Tensor]) -> np.ndarray:
        """(captions, dim) rows as the model has them, not of unit length."""
        ids, mask = padded(batch, self._tokenizer.pad_token_id)
        rows = self._network({"input_ids": ids.to(self._device), "attention_mask": mask.to(self._device)})
        return rows.float().cpu().numpy()


ENCODER = PeAv
