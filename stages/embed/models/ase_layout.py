"""Names and shapes in the published checkpoints of WavCaps' retrieval model ("ASE": HTS-AT, BERT, two heads)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from transformers import BertConfig, BertModel

from stages.embed.models.htsat import HtsatShape
from stages.embed.models.swin_order import BINS, PATCH, SIDE, WINDOW

HTSAT = HtsatShape(dim=96, depths=(2, 2, 6, 2), heads=(4, 8, 16, 32))
DIM, WINDOW_SAMPLES, CLASSES = 1024, 1024, 527
AUDIO, TEXT = "audio_encoder.audio_enc.", "text_encoder.text_encoder."
KERNELS = tuple(f"{AUDIO}audio_feats_extractor.mel_trans.stft.conv_{part}.weight" for part in ("real", "imag"))
FILTERS = f"{AUDIO}audio_feats_extractor.log_trans.melW"
EXTRACTOR = (*KERNELS, FILTERS)

Shape = tuple[int, ...]


def layout() -> dict[str, Tensor]:
    """Every key of a checkpoint, with tensors that have a shape but no memory.

    Files written with older transformers hold BERT's `embeddings.position_ids` besides, a constant.
    """
    features = HTSAT.dim * 2 ** (len(HTSAT.depths) - 1)
    shapes: dict[str, Shape] = {"temp": (), FILTERS: (WINDOW_SAMPLES // 2 + 1, BINS)}
    shapes |= dict.fromkeys(KERNELS, (WINDOW_SAMPLES // 2 + 1, 1, WINDOW_SAMPLES))
    shapes |= {f"{AUDIO}{name}": shape for name, shape in _htsat(features)}
    with torch.device("meta"):
        shapes |= {f"{TEXT}{name}": tuple(one.shape) for name, one in bert().state_dict().items()}
    for head in ("audio_proj", "text_proj"):
        shapes |= {f"{head}.{name}": shape for name, shape in (*_linear("0", features, DIM), *_linear("2", DIM, DIM))}
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def bert() -> BertModel:
    """`bert-base-uncased` without its pooler, which WavCaps does without."""
    return BertModel(BertConfig(), add_pooling_layer=False)


def _htsat(features: int) -> Iterator[tuple[str, Shape]]:
    yield from ((f"bn0.{name}", (BINS,)) for name in ("weight", "bias", "running_mean", "running_var"))
    yield "bn0.num_batches_tracked", ()
    yield "patch_embed.proj.weight", (HTSAT.dim, 1, PATCH, PATCH)
    yield "patch_embed.proj.bias", (HTSAT.dim,)
    yield from _norm("patch_embed.norm", HTSAT.dim)
    for stage, (depth, heads) in enumerate(zip(HTSAT.depths, HTSAT.heads, strict=True)):
        dim, side = HTSAT.dim * 2**stage, SIDE // PATCH // 2**stage
        for block in range(depth):
            is_shifted = block % 2 == 1 and side > WINDOW
            windows = (side // WINDOW) ** 2 if is_shifted else 0
            yield from _block(f"layers.{stage}.blocks.{block}", dim, heads, windows)
        if dim < features:
            yield f"layers.{stage}.downsample.reduction.weight", (2 * dim, 4 * dim)
            yield from _norm(f"layers.{stage}.downsample.norm", 4 * dim)
    yield from _norm("norm", features)
    yield "tscam_conv.weight", (CLASSES, features, 2, 3)
    yield "tscam_conv.bias", (CLASSES,)
    yield from _linear("head", CLASSES, CLASSES)


def _block(name: str, dim: int, heads: int, masked_windows: int) -> Iterator[tuple[str, Shape]]:
    if masked_windows:
        yield f"{name}.attn_mask", (masked_windows, WINDOW**2, WINDOW**2)
    yield f"{name}.attn.relative_position_bias_table", ((2 * WINDOW - 1) ** 2, heads)
    yield f"{name}.attn.relative_position_index", (WINDOW**2, WINDOW**2)
    yield from (*_norm(f"{name}.norm1", dim), *_norm(f"{name}.norm2", dim))
    yield from (*_linear(f"{name}.attn.qkv", dim, 3 * dim), *_linear(f"{name}.attn.proj", dim, dim))
    yield from (*_linear(f"{name}.mlp.fc1", dim, 4 * dim), *_linear(f"{name}.mlp.fc2", 4 * dim, dim))


def _norm(name: str, size: int) -> Iterator[tuple[str, Shape]]:
    yield from ((f"{name}.{part}", (size,)) for part in ("weight", "bias"))


def _linear(name: str, inputs: int, outputs: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", (outputs, inputs)
    yield f"{name}.bias", (outputs,)
