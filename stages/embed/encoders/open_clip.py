"""Images and text in one space by open_clip: any of its models by name, hub id or folder, in the package itself.

CLIP, CoCa, EVA-02, SigLIP, MobileCLIP, ConvNeXt and multilingual text towers, as far as the package has them. It is
optional: `uv sync --extra open-clip`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from cache.errors import UserError
from pipeline.checkpoints.open_clip import OpenClipModel, find
from stages.embed.encoder import Encoder, EncoderConfig, FrameInput, Tower
from stages.embed.tower_parts import mean_over_frames

if TYPE_CHECKING:
    import torch
    from torch import Tensor

VERSION = 1  # raise it when a change of this code changes rows
CPU_CHUNK, DEVICE_CHUNK = 16, 256  # frames per pass


class Config(EncoderConfig):
    """Options of the YAML.

    Attributes:
        model: a name of open_clip such as `ViT-B-32`, `hf-hub:OWNER/NAME`, or a folder with `open_clip_config.json`,
            `open_clip_model.safetensors` or `open_clip_pytorch_model.bin`, and the tokenizer's files.
        dim: length of the model's embeddings.
        pretrained: with a name, the tag of its published weights, such as `laion2b_s34b_b79k`. It decides the
            preprocessing, and where the weights are got unless `checkpoint` names them.
        checkpoint: a file with the weights.
        text_model: hub id or folder of the tokenizer, and of `config.json` of a text tower of `transformers`; by
            default the one that the model's settings name. Models with open_clip's own tokenizer need none.
        quick_gelu: whether the weights were trained with QuickGELU; by default as the model's settings say, and a tag
            of published weights that says otherwise is an error.
        frames: frames per clip, from the middle of as many equal parts.
        pool: `normalised` brings each frame's embedding to unit length before the mean over frames; `raw` takes
            the mean of the embeddings as they are. Rows have unit length either way.
    """

    model: str
    dim: Annotated[int, Field(ge=1)]
    pretrained: str | None = None
    checkpoint: Path | None = None
    text_model: str | None = None
    quick_gelu: bool | None = None
    frames: Annotated[int, Field(ge=1)] = 8
    pool: Literal["normalised", "raw"] = "normalised"


class OpenClip(Encoder[Config]):
    """Frames by an image tower of open_clip, averaged over frames; text by its text tower.

    Source: https://github.com/mlfoundations/open_clip.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.dim = config.dim
        self.clip_input = FrameInput(config.frames)

    def clip_identity(self) -> dict[str, object]:
        """All that decides a clip's row."""
        return {
            **self._network_identity(),
            "preprocessing": self._found.preprocessing,
            "frames": self.config.frames,
            "pool": self.config.pool,
        }

    def caption_identity(self) -> dict[str, object]:
        """All that decides a caption's row."""
        return {**self._network_identity(), "tokenizer": self._found.text_files()}

    def load_clip_tower(self, device: torch.device) -> Tower:
        """The image tower on the device."""
        found = self._found  # names what is missing before torch is imported
        from pipeline.networks import open_clip_package

        model = open_clip_package.load(found, "vision", device)
        return ClipTower(model, *open_clip_package.transform(found, model), self.config.pool == "normalised")

    def load_caption_tower(self, device: torch.device) -> Tower:
        """The text tower on the device."""
        found = self._found
        from pipeline.networks import open_clip_package

        tokenizer = open_clip_package.load_tokenizer(found)
        model = open_clip_package.load(found, "text", device)
        return CaptionTower(model, tokenizer, open_clip_package.causal_mask(model), device)

    def _network_identity(self) -> dict[str, object]:
        return {"version": VERSION, "settings": self._found.settings, "weights": self._found.weights}

    @cached_property
    def _found(self) -> OpenClipModel:
        own = self.config
        found = find(own.model, own.pretrained, own.checkpoint, own.text_model, own.quick_gelu)
        dim = found.settings["embed_dim"]
        if dim != own.dim:
            raise UserError(f"{own.model} gives embeddings of length {dim}: write `dim: {dim}` in the encoder's YAML.")
        return found


class ClipTower:
    """Clips through the image tower: the mean over a clip's frames.

    Args:
        model: from `load`.
        resized: what open_clip does to a PIL image before it becomes a tensor.
        mean: of the channels, (3, 1, 1), and
        deviation: of the same, by which images are normalised.
        normalised: bring each frame's embedding to unit length before the mean.
    """

    def __init__(self, model: Any, resized: Any, mean: Tensor, deviation: Tensor, normalised: bool) -> None:
        self._model, self._resized, self._normalised = model, resized, normalised
        self.networks = [model.visual]
        self._device = next(model.parameters()).device
        self._mean, self._deviation = mean.to(self._device), deviation.to(self._device)

    def prepare(self, item: np.ndarray, key: bytes) -> np.ndarray:
        """Resized frames, uint8 (frames, height, width, 3); nothing is drawn, so that the row key plays no part."""
        from PIL import Image

        return np.stack([np.asarray(self._resized(Image.fromarray(frame))) for frame in item])

    def encode(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        """(clips, dim) unit-length rows."""
        import torch

        chunk = CPU_CHUNK if self._device.type == "cpu" else DEVICE_CHUNK
        frames = torch.from_numpy(np.concatenate(batch))
        parts = []
        for start in range(0, len(frames), chunk):
            pixels = frames[start : start + chunk].to(self._device).permute(0, 3, 1, 2).contiguous()
            pixels = (pixels.float() / 255 - self._mean) / self._deviation
            parts.append(self._model.encode_image(pixels, normalize=False).float())
        return mean_over_frames(torch.cat(parts), [len(clip) for clip in batch], self._normalised)


class CaptionTower:
    """Captions through the text tower.

    Args:
        model: from `load`.
        tokenizer: from `load_tokenizer`.
        mask: from `causal_mask`: such towers are given a batch's tokens up to the last end of a caption; the others
            all tokens, padded to the length of their training.
        device: where the model is.
    """

    def __init__(self, model: Any, tokenizer: Any, mask: Tensor | None, device: torch.device) -> None:
        self._model, self._tokenizer, self._mask, self._device = model, tokenizer, mask, device
        self.networks = [model.text]
        self.prepare("", b"")  # sets truncation and padding up, which is not safe in several threads at once

    def prepare(self, item: str, key: bytes) -> Tensor:
        """Token ids (context,); nothing is drawn at random, so that the row key plays no part."""
        ids: Tensor = self._tokenizer([item])[0]
        return ids

    def encode(self, batch: Sequence[Tensor]) -> np.ndarray:
        """(captions, dim) unit-length rows."""
        import torch
        from torch.nn.functional import normalize

        ids = torch.stack(list(batch))
        if self._mask is not None:
            length = int(ids.argmax(dim=1).max()) + 1  # the highest id is the end
            ids, self._model.text.attn_mask = ids[:, :length], self._mask[:length, :length]
        rows = self._model.encode_text(ids.to(self._device), normalize=False).float()
        return normalize(rows, dim=-1).cpu().numpy()


ENCODER = OpenClip
