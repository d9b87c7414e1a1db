"""EgoVLP's FrozenInTime, filled from `egovlp.pth` (https://arxiv.org/abs/2206.01670).

Video: a ViT-B/16 that attends within frames and along time ("Frozen in Time", https://arxiv.org/abs/2104.00650). In
each block time comes first, and its result only steers the attention within frames: the residual starts from the
block's input. Text: DistilBERT.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from timm.layers import Mlp, PatchEmbed
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torchvision.transforms import functional
from transformers import DistilBertConfig, DistilBertModel
from transformers.initialization import no_init_weights

from pipeline.checkpoints.weights import drop_position_ids, load_strictly, read_state_dict

SIDE = 224
WIDTH, HEADS, DEPTH = 768, 12, 12
NORM_EPSILON = 1e-6


class DividedAttention(nn.Module):
    """Attention of each patch to its frame, or its position in all frames, and the class token; of that to all."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, tokens: Tensor, frames: int, *, over_time: bool) -> Tensor:
        """Attends over the frames at each position, or over the positions in each frame.

        Args:
            tokens: (clips, 1 + frames * positions, 768), the class token first.
            frames: how many there are.
            over_time: along the frames.
        """
        queries, keys, values = self._heads(tokens)
        whole = scaled_dot_product_attention(queries[:, :, :1], keys, values)
        query_groups, key_groups, value_groups = (
            _groups(part[:, :, 1:], frames, over_time) for part in (queries, keys, values)
        )
        key_groups, value_groups = (
            torch.cat((_repeated(part[:, :, :1], query_groups.shape[1]), group), dim=2)
            for part, group in ((keys, key_groups), (values, value_groups))
        )
        patches = scaled_dot_product_attention(query_groups, key_groups, value_groups).unflatten(0, queries.shape[:2])
        patches = (patches.transpose(2, 3) if over_time else patches).flatten(2, 3)
        return self._merged(torch.cat((whole, patches), dim=2))

    def first(self, tokens: Tensor) -> Tensor:
        """What the class token alone gets: (clips, 1, 768)."""
        queries, keys, values = self._heads(tokens)
        return self._merged(scaled_dot_product_attention(queries[:, :, :1], keys, values))

    def _heads(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values: (clips, heads, tokens, 64) each."""
        parts = self.qkv(tokens).unflatten(2, (3, HEADS, WIDTH // HEADS)).permute(2, 0, 3, 1, 4)
        return parts[0], parts[1], parts[2]

    def _merged(self, heads: Tensor) -> Tensor:
        return self.proj(heads.transpose(1, 2).flatten(2))


def _groups(patches: Tensor, frames: int, over_time: bool) -> Tensor:
    """Patches that attend to each other: (clips, heads, frames * positions, 64) to (clips * heads, groups, ..., 64)."""
    by_frame = patches.unflatten(2, (frames, -1))
    return (by_frame.transpose(2, 3) if over_time else by_frame).flatten(0, 1)


def _repeated(token: Tensor, count: int) -> Tensor:
    """The class token for every group: (clips, heads, 1, 64) to (clips * heads, groups, 1, 64)."""
    return token.flatten(0, 1)[:, None].expand(-1, count, -1, -1)


class SpaceTimeBlock(nn.Module):
    """Attention over time, over space, and two layers on each token."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(WIDTH, NORM_EPSILON) for _ in range(3))
        self.attn = DividedAttention()
        self.timeattn = DividedAttention()
        self.mlp = Mlp(WIDTH, 4 * WIDTH)

    def forward(self, tokens: Tensor, frames: int, *, only_first: bool = False) -> Tensor:
        """Tokens (clips, 1 + frames * positions, 768) to the same, or to the class token alone."""
        steered = self.norm1(tokens + self.timeattn(self.norm3(tokens), frames, over_time=True))
        if only_first:
            tokens = tokens[:, :1] + self.attn.first(steered)
        else:
            tokens = tokens + self.attn(steered, frames, over_time=False)
        return tokens + self.mlp(self.norm2(tokens))


class SpaceTimeTransformer(nn.Module):
    """Frames to one vector.

    Args:
        num_frames: the most frames it takes.
    """

    def __init__(self, num_frames: int) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(SIDE, 16, 3, WIDTH)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.patch_embed.num_patches, WIDTH))
        self.temporal_embed = nn.Parameter(torch.zeros(1, num_frames, WIDTH))
        self.blocks = nn.ModuleList(SpaceTimeBlock() for _ in range(DEPTH))
        self.norm = nn.LayerNorm(WIDTH, NORM_EPSILON)

    def forward(self, frames: Tensor) -> Tensor:
        """Normalised frames (clips, up to num_frames, 3, 224, 224) to (clips, 768)."""
        count = frames.shape[1]
        patches = self.patch_embed(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        patches = patches + (self.pos_embed[:, None, 1:] + self.temporal_embed[:, :count, None])
        first = (self.cls_token + self.pos_embed[:, :1]).expand(len(frames), -1, -1)
        tokens = torch.cat((first, patches.flatten(1, 2)), dim=1)
        for number, block in enumerate(self.blocks, 1):
            tokens = block(tokens, count, only_first=number == DEPTH)
        return self.norm(tokens[:, 0])


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

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return next(self.parameters()).device

    def embed_frames(self, frames: Tensor) -> np.ndarray:
        """Float32 (clips, 256) of network inputs (clips, frames, 3, 224, 224)."""
        return self.vid_proj(self.video_model(frames.to(self.device))).float().cpu().numpy()

    def embed_ids(self, ids: Tensor, mask: Tensor) -> np.ndarray:
        """Float32 (captions, 256) of padded token ids and their mask."""
        states = self.text_model(input_ids=ids.to(self.device), attention_mask=mask.to(self.device)).last_hidden_state
        return self.txt_proj(states[:, 0]).float().cpu().numpy()


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


def network_input(frames: np.ndarray, count: int, antialias: bool) -> Tensor:
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
    """Float frames (n, 3, height, width) in [0, 1] to (n, 3, 224, 224), normalised as for ImageNet."""
    squares = functional.center_crop(functional.resize(images, [CROP], antialias=antialias), [CROP, CROP])
    return functional.normalize(functional.resize(squares, [SIDE, SIDE], antialias=antialias), MEAN, DEVIATION)


def _filled(images: Tensor, count: int) -> Tensor:
    return torch.cat((images, images.new_zeros((count - len(images), *images.shape[1:]))))
