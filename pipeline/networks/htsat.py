"""HTS-AT, the audio network of CLAP and WavCaps, arranged for embedding.

The network is that of "HTS-AT: A Hierarchical Token-Semantic Audio Transformer for Sound Classification and
Detection" (https://arxiv.org/abs/2202.00874), with the feature fusion of "Large-scale Contrastive Language-Audio
Pretraining" (https://arxiv.org/abs/2211.06687), and its parameters have their published names. Its arithmetic is
arranged anew: every rearrangement of tokens (folding the spectrogram into an image, cutting it into patches,
windows, shifted windows, the merging of patches) is a table of indices computed once, so that tokens lie in the
order of the next block's windows and a rearrangement is one gather; position biases and masks are added up
beforehand; class scores, which no embedding needs, are not computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.networks import swin as swin_order
from pipeline.networks.packed import PackedLinear
from pipeline.networks.swin import BINS, CHUNK_WIDTH, PATCH, SIDE, WINDOW, Stage

UNUSED = ("spectrogram_extractor.", "logmel_extractor.", "tscam_conv.", "head.")
CONSTANTS = ("relative_position_index", "attn_mask", "num_batches_tracked")
FRAMES = SIDE * SIDE // BINS
CLASSES = 527
THREADS_PER_CLIP = 2
"""On a CPU few clips go through the network together: the windows of one suffice for this many threads, and what lies
between two layers then stays in the caches. With up to three threads a row is the same to the bit in any batch."""


@dataclass(frozen=True)
class HtsatShape:
    """What tells the published sizes apart.

    Attributes:
        dim: features of a patch: 96 (tiny), 128 (base), 256 (large).
        depths: blocks of each stage.
        heads: attention heads of each stage.
        fusion: has the layers that fuse a squeezed view with three chunks (`aff_2d`).
    """

    dim: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    fusion: bool = False

    @property
    def features(self) -> int:
        """Length of the network's output."""
        return self.dim * 2 ** (len(self.depths) - 1)


def published_layout(shape: HtsatShape) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes in published checkpoints, without those of the spectrogram extractor."""
    yield from _norm("bn0", BINS, running=True)
    yield "patch_embed.proj.weight", (shape.dim, 1, PATCH, PATCH)
    yield "patch_embed.proj.bias", (shape.dim,)
    yield from _norm("patch_embed.norm", shape.dim)
    if shape.fusion:
        yield "patch_embed.mel_conv2d.weight", (shape.dim, 1, PATCH, CHUNK_WIDTH)
        yield "patch_embed.mel_conv2d.bias", (shape.dim,)
        for name, first in (("local_att", 0), ("global_att", 1)):
            layer, inner = f"patch_embed.fusion_model.{name}", shape.dim // 4
            yield from _weights(f"{layer}.{first}", (inner, shape.dim, 1, 1))
            yield from _norm(f"{layer}.{first + 1}", inner, running=True)
            yield from _weights(f"{layer}.{first + 3}", (shape.dim, inner, 1, 1))
            yield from _norm(f"{layer}.{first + 4}", shape.dim, running=True)
    for stage, (depth, heads) in enumerate(zip(shape.depths, shape.heads, strict=True)):
        dim, side = shape.dim * 2**stage, SIDE // PATCH // 2**stage
        for block in range(depth):
            name = f"layers.{stage}.blocks.{block}"
            if block % 2 == 1 and side > WINDOW:
                yield f"{name}.attn_mask", ((side // WINDOW) ** 2, WINDOW**2, WINDOW**2)
            yield f"{name}.attn.relative_position_bias_table", ((2 * WINDOW - 1) ** 2, heads)
            yield f"{name}.attn.relative_position_index", (WINDOW**2, WINDOW**2)
            yield from (*_norm(f"{name}.norm1", dim), *_norm(f"{name}.norm2", dim))
            yield from (*_weights(f"{name}.attn.qkv", (3 * dim, dim)), *_weights(f"{name}.attn.proj", (dim, dim)))
            yield from (*_weights(f"{name}.mlp.fc1", (4 * dim, dim)), *_weights(f"{name}.mlp.fc2", (dim, 4 * dim)))
        if dim < shape.features:
            yield f"layers.{stage}.downsample.reduction.weight", (2 * dim, 4 * dim)
            yield from _norm(f"layers.{stage}.downsample.norm", 4 * dim)
    yield from _norm("norm", shape.features)
    yield from _weights("tscam_conv", (CLASSES, shape.features, 2, 3))
    yield from _weights("head", (CLASSES, CLASSES))


def projection_layout(name: str, inputs: int, outputs: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The same of a head of two linear layers with a ReLU between them."""
    yield from (*_weights(f"{name}.0", (outputs, inputs)), *_weights(f"{name}.2", (outputs, outputs)))


def without_memory(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Tensors that have a shape alone, to compare checkpoints with."""
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def _weights(name: str, shape: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def _norm(name: str, size: int, running: bool = False) -> Iterator[tuple[str, tuple[int, ...]]]:
    kinds = ("weight", "bias", "running_mean", "running_var") if running else ("weight", "bias")
    yield from ((f"{name}.{kind}", (size,)) for kind in kinds)
    if running:
        yield f"{name}.num_batches_tracked", ()


def clips_together(device: torch.device, batch_size: int) -> int:
    """How many clips of a batch go through the network at a time."""
    return max(1, torch.get_num_threads() // THREADS_PER_CLIP) if device.type == "cpu" else batch_size


class Htsat(nn.Module):
    """Log-mel spectrograms to the mean of the last tokens.

    Args:
        shape: of the network.
        weights: state dict of the published network, checked already; what embeddings do not need is ignored.
    """

    def __init__(self, shape: HtsatShape, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.shape = shape
        with torch.device("meta"):
            self.bn0 = nn.BatchNorm2d(BINS)
            self.patch_embed = _Patches(shape.dim, shape.fusion)
            self.layers = nn.ModuleList(
                Stage(shape.dim * 2**i, depth, heads, SIDE // PATCH // 2**i, last=i == len(shape.depths) - 1)
                for i, (depth, heads) in enumerate(zip(shape.depths, shape.heads, strict=True))
            )
            self.norm = nn.LayerNorm(shape.features)
        kept = {k: v for k, v in weights.items() if not k.startswith(UNUSED) and not k.endswith(CONSTANTS)}
        own = {key for key in self.state_dict() if not key.endswith(CONSTANTS)}
        if own != set(kept):
            raise ValueError(f"not the weights of {shape}: {sorted(own ^ set(kept))}")
        self.load_state_dict(kept, strict=False, assign=True)
        self.bn0.num_batches_tracked = None
        self.eval().requires_grad_(False)
        for module in self.modules():
            if isinstance(module, _Patches | Stage):
                module.finish()

    def forward(self, mels: Tensor, views: Tensor, fused: Tensor | None = None) -> Tensor:
        """Embeds a batch of clips.

        Args:
            mels: (spectrograms, frames, 64) decibels, up to 1024 frames.
            views: (clips, 1 or 4), on the CPU: which spectrogram is which view of a clip, the whole and, with fusion,
                three chunks.
            fused: (clips,), on the CPU: whether the chunks of a clip are used; with fusion only.

        Returns:
            (clips, features).
        """
        x = self.bn0(mels.transpose(1, 2)[..., None])[..., 0]
        if x.shape[2] != FRAMES:
            x = functional.interpolate(x[:, None], (BINS, FRAMES), mode="bicubic", align_corners=True)[:, 0]
        x = self.patch_embed(x.flatten(1), views, fused)
        for stage in self.layers:
            x = stage(x)
        return self.norm(x).mean(1)


class _Patches(nn.Module):
    proj: nn.Module
    mel_conv2d: nn.Module
    _table: Tensor
    _chunk_table: Tensor
    _filled: Tensor

    def __init__(self, dim: int, fusion: bool) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, dim, PATCH)
        self.norm = nn.LayerNorm(dim)
        if fusion:
            self.mel_conv2d = nn.Conv2d(1, dim, (PATCH, CHUNK_WIDTH))
            self.fusion_model = _Fusion(dim)

    def finish(self) -> None:
        """Turns the convolutions, whose patches do not overlap, into linear layers."""
        self.register_buffer("_table", swin_order.patches(), persistent=False)
        self.proj = _linear(self.proj)
        if hasattr(self, "mel_conv2d"):
            table, filled = swin_order.chunk_patches()
            self.register_buffer("_chunk_table", table, persistent=False)
            self.register_buffer("_filled", filled, persistent=False)
            self.mel_conv2d = _linear(self.mel_conv2d)
            self.fusion_model.finish()

    def forward(self, x: Tensor, views: Tensor, fused: Tensor | None) -> Tensor:
        whole = self.proj(x[views[:, 0]][:, self._table])
        if fused is not None and fused.any():
            chunks = x[views[fused, 1:]].flatten(1)[:, self._chunk_table]
            whole[fused] = self.fusion_model(whole[fused], self.mel_conv2d(chunks) * self._filled)
        return self.norm(whole)


class _Fusion(nn.Module):
    """Attentional feature fusion: how much of either input, decided per token and for the whole clip."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.local_att = nn.Sequential(*_squeeze(dim))
        self.global_att = nn.Sequential(nn.Identity(), *_squeeze(dim))

    def finish(self) -> None:
        for name in ("local_att", "global_att"):
            first, first_norm, second, second_norm = [
                layer for layer in getattr(self, name) if not isinstance(layer, nn.Identity)
            ]
            layers = (_normalised(first, first_norm), nn.ReLU(), _normalised(second, second_norm))
            setattr(self, name, nn.Sequential(*layers))

    def forward(self, x: Tensor, chunks: Tensor) -> Tensor:
        total = x + chunks
        share = torch.sigmoid(self.local_att(total) + self.global_att(total.mean(1, keepdim=True)))
        return 2 * (x * share + chunks * (1 - share))


def _squeeze(dim: int) -> list[nn.Module]:
    inner = dim // 4
    first, second = (nn.Conv2d(dim, inner, 1), nn.BatchNorm2d(inner)), (nn.Conv2d(inner, dim, 1), nn.BatchNorm2d(dim))
    return [*first, nn.Identity(), *second]


def _linear(conv: Any) -> PackedLinear:
    return PackedLinear(conv.weight.flatten(1), conv.bias)


def _normalised(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> PackedLinear:
    """A 1 x 1 convolution and the batch normalisation after it, as one layer."""
    assert norm.running_mean is not None and norm.running_var is not None and conv.bias is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return PackedLinear(conv.weight.flatten(1) * scale[:, None], (conv.bias - norm.running_mean) * scale + norm.bias)
