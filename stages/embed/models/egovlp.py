"""EgoVLP's FrozenInTime, filled from `egovlp.pth`, and its two towers (https://arxiv.org/abs/2206.01670)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torchvision.transforms import functional
from transformers import DistilBertConfig, DistilBertModel
from transformers.initialization import no_init_weights

from pipeline.checkpoints.weights import drop_position_ids, load_strictly, read_state_dict
from stages.embed.models.space_time import SIDE, WIDTH, SpaceTimeTransformer

DIM = 256
CROP = 256
MEAN, DEVIATION = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]

WRAPPERS = ("state_dict_v", "state_dict")
TEMPORAL = "video_model.temporal_embed"
"""The embedding of each frame's number."""


class FrozenInTime(nn.Module):
    """Both towers, with the names of the published checkpoints. Rows are not normalised."""

    def __init__(self, num_frames: int, wanted: Literal["video", "text"]) -> None:
        super().__init__()
        with torch.device("cpu" if wanted == "video" else "meta"):
            self.video_model = SpaceTimeTransformer(num_frames)
        with torch.device("cpu" if wanted == "text" else "meta"):
            self.text_model = DistilBertModel(DistilBertConfig())
        self.txt_proj = nn.Sequential(nn.ReLU(), nn.Linear(WIDTH, DIM))
        self.vid_proj = nn.Sequential(nn.Linear(WIDTH, DIM))


def load(checkpoint: Path, num_frames: int, wanted: Literal["video", "text"]) -> FrozenInTime:
    """Builds the model with one of its towers and fills it from a checkpoint, all of whose keys have to fit.

    The ImageNet file that EgoVLP reads first is not needed: all that it holds is in the checkpoint.

    Args:
        checkpoint: `{'state_dict': {'module.…'}}` as EgoVLP saves it, or with `state_dict_v`, or a bare state dict.
        num_frames: the most frames of a clip. Where the checkpoint knows fewer, the others get a temporal embedding of
            zeros; where it knows more, those are left out.
        wanted: the tower that is wanted; the other is checked against the file but not kept.

    Raises:
        CheckpointError: the file cannot be used, or is of another architecture.
    """
    weights = read_state_dict(checkpoint, wrappers=WRAPPERS)
    drop_position_ids(weights, checkpoint)
    embedding = weights.get(TEMPORAL)
    if embedding is not None and embedding.ndim == 3:
        weights[TEMPORAL] = fit_frames(embedding, num_frames)
    with no_init_weights():
        model = FrozenInTime(num_frames, wanted)
    unwanted = "text_model." if wanted == "video" else "video_model."
    load_strictly(model, weights, checkpoint, "EgoVLP's FrozenInTime", skip=lambda key: key.startswith(unwanted))
    delattr(model, unwanted.removesuffix("."))
    return model.eval().requires_grad_(False)


def fit_frames(embedding: Tensor, num_frames: int) -> Tensor:
    """A temporal embedding (1, frames, width) cut to a number of frames, or filled up with zeros."""
    fitted = embedding.new_zeros((embedding.shape[0], num_frames, embedding.shape[2]))
    kept = embedding[:, :num_frames]
    fitted[:, : kept.shape[1]] = kept
    return fitted


def pictures(frames: np.ndarray, count: int, antialias: bool) -> Tensor:
    """What the network takes of a clip, by EgoVLP's transform of the test split.

    The short side is scaled to 256 pixels, the middle square cut out and scaled to 224, all of it bilinear on floats.
    A clip of fewer frames than `count` is filled up with zeros, which is the colour of ImageNet's mean, not black.

    Args:
        frames: uint8 (n, height, width, 3), n up to `count`.
        count: frames of a clip.
        antialias: smooth while making smaller.

    Returns:
        float32 (count, 3, 224, 224).
    """
    images = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 255
    return transform(images, antialias) if len(images) == count else _filled(transform(images, antialias), count)


def transform(images: Tensor, antialias: bool) -> Tensor:
    """Float pictures (n, 3, height, width) in [0, 1] to (n, 3, 224, 224), normalised as for ImageNet."""
    squares = functional.center_crop(functional.resize(images, [CROP], antialias=antialias), [CROP, CROP])
    return functional.normalize(functional.resize(squares, [SIDE, SIDE], antialias=antialias), MEAN, DEVIATION)


def _filled(images: Tensor, count: int) -> Tensor:
    return torch.cat((images, images.new_zeros((count - len(images), *images.shape[1:]))))


class ClipTower:
    """Clips through the space-time transformer.

    Attributes:
        networks: what can be compiled.

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
        return pictures(item, self._num_frames, self._antialias)

    @torch.inference_mode()
    def encode(self, batch: Sequence[Tensor]) -> np.ndarray:
        """(clips, 256) rows; on the CPU clip by clip, where a batch would only take memory."""
        device = next(self._model.parameters()).device
        parts = [[clip] for clip in batch] if device.type == "cpu" else [list(batch)]
        rows = [self._model.vid_proj(self._model.video_model(torch.stack(part).to(device))) for part in parts]
        return torch.cat(rows).float().cpu().numpy()


class CaptionTower:
    """Captions through DistilBERT.

    Attributes:
        networks: what can be compiled.

    Args:
        model: with its text tower.
        tokenizer: from `bert_words.load_tokenizer`.
        max_tokens: longer captions are cut, the two marks at the ends included.
    """

    def __init__(self, model: FrozenInTime, tokenizer: Any, max_tokens: int) -> None:
        self._model, self._tokenizer, self._max_tokens = model, tokenizer, max_tokens
        self.networks = [model.text_model]
        self._tokens("")  # sets the truncation up, which is not safe in several threads at once

    def _tokens(self, text: str) -> list[int]:
        return self._tokenizer(text, truncation=True, max_length=self._max_tokens)["input_ids"]

    def prepare(self, item: str, key: bytes) -> Tensor:
        """Token ids; nothing is drawn at random, so that the row key plays no part."""
        return torch.tensor(self._tokens(item))

    def encode(self, batch: Sequence[Tensor]) -> np.ndarray:
        """(captions, 256) rows."""
        ids = pad_sequence(list(batch), batch_first=True, padding_value=self._tokenizer.pad_token_id)
        lengths = torch.tensor([len(tokens) for tokens in batch])
        return self.encode_ids(ids, (torch.arange(ids.shape[1]) < lengths[:, None]).long())

    @torch.inference_mode()
    def encode_ids(self, ids: Tensor, mask: Tensor) -> np.ndarray:
        """(captions, 256) rows of padded token ids and their mask."""
        device = next(self._model.parameters()).device
        states = self._model.text_model(input_ids=ids.to(device), attention_mask=mask.to(device)).last_hidden_state
        return self._model.txt_proj(states[:, 0]).float().cpu().numpy()
