"""Images and text in one space: CLIP, MetaCLIP 2, SigLIP, SigLIP 2, X-CLIP, by a hub id or a local folder.

One family, two loaders. `transformers`, the default, has both towers, and SigLIP with the activation it was trained
with. `timm` is for models published in open_clip's format (EVA-02, ConvNeXt, `timm/ViT-B-16-SigLIP`):
timm has image towers only, so that the text tower of the same file is computed by `transformers` there as well.

X-CLIP's video tower takes all frames of a clip at once. Its video-specific prompts are left out: with them a caption's
embedding would depend on the clip that it is compared with.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from cache.errors import UserError
from pipeline.checkpoints import hub as hub_files
from pipeline.checkpoints.official import fetch_or
from stages.embed.encoder import Encoder, EncoderConfig, FrameInput, Tower
from stages.embed.tower_parts import mean_over_frames, padded

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pipeline.networks.clip import Text

VERSION = 1  # raise it when a change of this code changes rows
SETTINGS = {"transformers": "config.json", "timm": "open_clip_config.json"}
WEIGHTS = {"transformers": hub_files.TRANSFORMERS, "timm": hub_files.OPEN_CLIP}
PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
TEXT_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
)
CPU_CHUNK, DEVICE_CHUNK = 16, 256  # frames per pass
VOCABULARIES = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("spiece.model",), ("sentencepiece.bpe.model",))
PROJECTED = ("clip", "metaclip_2", "xclip")
"""Types of `config.json` that state the embeddings' length as `projection_dim`."""


class Config(EncoderConfig):
    """Options of the YAML.

    Attributes:
        model: a hub id, which is taken from the Hugging Face cache or fetched, or a folder with the same files:
            `config.json`, `preprocessor_config.json`, the tokenizer's, and `model.safetensors` or
            `pytorch_model.bin`; with `loader: timm` `open_clip_config.json`, `tokenizer.json`,
            `tokenizer_config.json`, and `open_clip_model.safetensors` or `open_clip_pytorch_model.bin`.
        dim: length of the model's embeddings.
        loader: `transformers`, or `timm` for an image tower of timm in open_clip's format. Of one SigLIP the two
            differ a little: timm's base and large towers compute the exact GELU, the training had its tanh form.
        frames: frames per clip, from the middle of as many equal parts. X-CLIP takes as many as it was trained with.
        pool: `normalised` brings each frame's embedding to unit length before the mean over frames; `raw` takes
            the mean of the embeddings as they are; `model` is for X-CLIP, which joins frames itself. Rows have unit
            length in any case.
        text: what is done to a caption before the tokenizer: `canonical` (lower case, without punctuation, single
            spaces, as SigLIP was trained), `lower` (as SigLIP 2 was trained), `none`, or `auto`, which chooses by
            the folder's tokenizer; CLIP's lower-cases by itself.
    """

    model: str
    dim: Annotated[int, Field(ge=1)]
    loader: Literal["transformers", "timm"] = "transformers"
    frames: Annotated[int, Field(ge=1)] = 8
    pool: Literal["normalised", "raw", "model"] = "normalised"
    text: Literal["auto", "canonical", "lower", "none"] = "auto"


class ClipLike(Encoder[Config]):
    """Frames by a vision transformer, averaged over frames; text by its text tower.

    Papers: CLIP (2103.00020), MetaCLIP 2 (2507.22062), SigLIP (2303.15343), SigLIP 2 (2502.14786),
    X-CLIP (2208.02816).
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.dim = config.dim
        self.clip_input = FrameInput(config.frames)

    def clip_identity(self) -> dict[str, object]:
        """All that decides a clip's row."""
        return {
            "version": VERSION,
            **self._model_files,
            "preprocessor": self._present(PROCESSOR_FILES) if self.config.loader == "transformers" else {},
            "frames": self.config.frames,
            "pool": self.config.pool,
        }

    def caption_identity(self) -> dict[str, object]:
        """All that decides a caption's row."""
        files = self._present(TEXT_FILES)
        if not any(all(name in files for name in names) for names in VOCABULARIES):
            raise UserError(f"{self._folder} has no tokenizer: {self._remedy}.")
        return {"version": VERSION, **self._model_files, "tokenizer": files, "text": self.config.text}

    def load_clip_tower(self, device: torch.device) -> Tower:
        """The image tower on the device."""
        self.clip_identity()  # names missing files before torch is imported
        from pipeline.networks.packed import place

        loader = self._loader()
        model = loader.load(self._folder, self._model_files["weights"].values(), "vision")
        processor = loader.load_processor(self._folder)
        if self.config.pool == "model":
            return VideoTower(place(model, device), processor)
        return ClipTower(place(model, device), processor, self.config.pool == "normalised")

    def load_caption_tower(self, device: torch.device) -> Tower:
        """The text tower on the device."""
        self.caption_identity()
        from pipeline.networks.clip import load_tokenizer
        from pipeline.networks.packed import place

        tokenizer = load_tokenizer(self._folder)
        model = self._loader().load(self._folder, self._model_files["weights"].values(), "text")
        return CaptionTower(place(model, device), tokenizer, self.config.text)

    def _loader(self) -> Any:
        from pipeline.networks import clip, open_clip

        return open_clip if self.config.loader == "timm" else clip

    @cached_property
    def _folder(self) -> Path:
        files = (*SETTINGS.values(), *PROCESSOR_FILES, *TEXT_FILES)
        return hub_files.local_folder(self.config.model, files, self._remedy, WEIGHTS[self.config.loader])

    @cached_property
    def _model_files(self) -> dict[str, Any]:
        config = self._folder / SETTINGS[self.config.loader]
        weights = hub_files.weight_files(self._folder, WEIGHTS[self.config.loader], self._remedy)
        dim = _dim(hub_files.read_json(config), config)
        if dim != self.config.dim:
            raise UserError(f"{config} gives embeddings of length {dim}: write `dim: {dim}` in the encoder's YAML.")
        self._check_pooling(hub_files.read_json(config), config)
        return {"loader": self.config.loader, "config": config, "weights": {path.name: path for path in weights}}

    def _check_pooling(self, settings: dict[str, Any], path: Path) -> None:
        video = settings.get("model_type") == "xclip"
        if video != (self.config.pool == "model"):
            instead = "model` in the encoder's YAML: it joins" if video else "normalised` or `raw`: nothing in it joins"
            kind = settings.get("model_type", self.config.loader)
            raise UserError(f"{path} describes a model of type {kind!r}: write `pool: {instead} the frames of a clip.")
        count = int((settings.get("vision_config") or {}).get("num_frames", 8))
        if video and count != self.config.frames:
            raise UserError(f"{path} takes {count} frames per clip: write `frames: {count}` in the encoder's YAML.")

    def _present(self, names: tuple[str, ...]) -> dict[str, Path]:
        return {name: self._folder / name for name in names if (self._folder / name).is_file()}

    @property
    def _remedy(self) -> str:
        hub_id = re.fullmatch(r"\w[\w.-]*/[\w.-]+", self.config.model)
        origin = f" of https://huggingface.co/{hub_id[0]}" if hub_id else ""
        weights = " or ".join(names[0] for names in WEIGHTS[self.config.loader])
        preprocessor = PROCESSOR_FILES[:1] if self.config.loader == "transformers" else ()
        files = ", ".join([SETTINGS[self.config.loader], *preprocessor, weights])
        return fetch_or(
            self.config.model,
            f"put {files} and the tokenizer's files{origin} into a folder and name it as `model` in the encoder's YAML",
        )


def _dim(settings: dict[str, Any], path: Path) -> int:
    """Length of the embeddings that `config.json` or `open_clip_config.json` describes."""
    if path.name == SETTINGS["timm"]:
        return int((settings.get("model_cfg") or {}).get("embed_dim", 0))
    kind = settings.get("model_type")
    if kind in PROJECTED:
        return int(settings.get("projection_dim", 512))
    if kind in ("siglip", "siglip2"):
        return int((settings.get("vision_config") or {}).get("hidden_size", 768))
    raise UserError(
        f"{path} describes a model of type {kind!r}: `loader: transformers` reads clip, metaclip_2, siglip, siglip2 "
        "and xclip."
    )


class ClipTower:
    """Clips through the image tower: the mean over a clip's frames.

    Args:
        model: from `load`.
        processor: from `load_processor`.
        normalised: bring each frame's embedding to unit length before the mean.

    Raises:
        CheckpointError: the processor makes frames of a size that the model does not take.
    """

    def __init__(self, model: Any, processor: Any, normalised: bool) -> None:
        from pipeline.checkpoints.weights import CheckpointError

        self._model, self._processor, self._normalised = model, processor, normalised
        self.networks = [getattr(model, "visual", None) or model.vision_model]
        self._patches = "pixel_attention_mask" in processor.model_input_names
        if not self._patches:
            side = model.config.vision_config.image_size
            height, width = self.prepare(np.zeros((1, 2 * side, 3 * side, 3), np.uint8), b"")["pixel_values"].shape[2:]
            if (height, width) != (side, side):
                raise CheckpointError(
                    f"the settings make frames of {width} x {height}, but the image tower takes "
                    f"{side} x {side}: the files are of different models"
                )

    def prepare(self, item: np.ndarray, key: bytes) -> dict[str, Tensor]:
        """Resized and cropped frames; nothing is drawn at random, so that the row key plays no part.

        Frames stay uint8 (frames, 3, side, side) until `encode`; patches of NaFlex models are made here.
        """
        later = {} if self._patches else {"do_rescale": False, "do_normalize": False}
        made = dict(self._processor(list(item), input_data_format="channels_last", return_tensors="pt", **later))
        if made["pixel_values"].ndim == 5:  # processors of videos give a batch of one
            made["pixel_values"] = made["pixel_values"][0]
        return made

    def encode(self, batch: Sequence[dict[str, Tensor]]) -> np.ndarray:
        """(clips, dim) unit-length rows."""
        import torch

        device = next(self._model.parameters()).device
        chunk = CPU_CHUNK if device.type == "cpu" else DEVICE_CHUNK
        inputs = {name: torch.cat([clip[name] for clip in batch]) for name in batch[0]}
        parts = []
        for start in range(0, len(inputs["pixel_values"]), chunk):
            part = {name: values[start : start + chunk].to(device) for name, values in inputs.items()}
            parts.append(self._model.get_image_features(**self._normalise(part)).pooler_output.float())
        return mean_over_frames(torch.cat(parts), [len(clip["pixel_values"]) for clip in batch], self._normalised)

    def _normalise(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        if self._patches:
            return inputs
        own = self._processor
        pixels = own.rescale_and_normalize(
            inputs["pixel_values"],
            own.do_rescale,
            own.rescale_factor,
            own.do_normalize,
            tuple(own.image_mean),
            tuple(own.image_std),
        )
        return {**inputs, "pixel_values": pixels}


class VideoTower(ClipTower):
    """Clips through a tower that takes all frames of a clip and joins them (X-CLIP)."""

    def __init__(self, model: Any, processor: Any) -> None:
        super().__init__(model, processor, normalised=False)

    def encode(self, batch: Sequence[dict[str, Tensor]]) -> np.ndarray:
        """(clips, dim) unit-length rows."""
        import torch
        from torch.nn.functional import normalize

        device = next(self._model.parameters()).device
        frames = len(batch[0]["pixel_values"])
        chunk = max((CPU_CHUNK if device.type == "cpu" else DEVICE_CHUNK) // frames, 1)
        parts = []
        for start in range(0, len(batch), chunk):
            clips = batch[start : start + chunk]
            pixels = torch.cat([clip["pixel_values"] for clip in clips]).to(device)
            pixels = self._normalise({"pixel_values": pixels})["pixel_values"].unflatten(0, (len(clips), frames))
            parts.append(self._model.get_video_features(pixel_values=pixels).pooler_output.float())
        return normalize(torch.cat(parts), dim=-1).cpu().numpy()


class CaptionTower:
    """Captions through the text tower.

    CLIP's reads up to the end of a caption; SigLIP's reads its padding too, which is always that of its training.

    Args:
        model: from `clip.load`.
        tokenizer: from `load_tokenizer`.
        rule: how captions are written before the tokenizer; `auto` for `text_rule`.

    Raises:
        CheckpointError: the tokenizer is not the one of the model.
    """

    def __init__(self, model: Any, tokenizer: Any, rule: Text | Literal["auto"]) -> None:
        from pipeline.checkpoints.weights import CheckpointError
        from pipeline.networks.clip import LEGACY_EOS, text_rule

        self._model, self._tokenizer = model, tokenizer
        self.networks = [getattr(model, "text", model).text_model]
        kind, config = model.config.model_type, model.config.text_config
        self._rule: Text = text_rule(kind, tokenizer) if rule == "auto" else rule
        self._padded = kind.startswith("siglip")
        legacy = () if kind == "metaclip_2" else (LEGACY_EOS,)  # MetaCLIP 2's token 2 is the end of a caption itself
        ends = (config.eos_token_id,) if self._padded else (*legacy, tokenizer.eos_token_id)
        if len(tokenizer) > config.vocab_size or tokenizer.pad_token_id is None or config.eos_token_id not in ends:
            raise CheckpointError(
                f"the tokenizer has {len(tokenizer)} tokens, pads with {tokenizer.pad_token_id} and ends with "
                f"{tokenizer.eos_token_id}, but config.json describes {config.vocab_size} tokens that end with "
                f"{config.eos_token_id}: the files are of different models"
            )
        self._length = config.max_position_embeddings
        self.prepare("", b"")  # sets truncation and padding up, which is not safe in several threads at once

    def prepare(self, item: str, key: bytes) -> Tensor:
        """Token ids; nothing is drawn at random, so that the row key plays no part."""
        import torch

        from pipeline.networks.clip import rewrite

        tokens = self._tokenizer(
            rewrite(item, self._rule),
            truncation=True,
            max_length=self._length,
            padding="max_length" if self._padded else False,
        )
        return torch.tensor(tokens["input_ids"])

    def encode(self, batch: Sequence[Tensor]) -> np.ndarray:
        """(captions, dim) unit-length rows."""
        from torch.nn.functional import normalize

        device = next(self._model.parameters()).device
        ids, mask = padded(batch, self._tokenizer.pad_token_id)
        inputs = {"input_ids": ids.to(device)}
        if not self._padded:
            inputs["attention_mask"] = mask.to(device)
        rows = self._model.get_text_features(**inputs).pooler_output.float()
        return normalize(rows, dim=-1).cpu().numpy()


ENCODER = ClipLike
