"""AVLnet from and to files in the form in which the authors publish it: a bare state dict."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from cache.durable import new_file
from pipeline.checkpoints.weights import WRAPPERS as PLAIN_WRAPPERS
from pipeline.checkpoints.weights import CheckpointError, load_strictly, read_state_dict
from stages.avlnet.network import AvlNet
from stages.avlnet.shape import Shape, Variant

WRAPPERS = (*PLAIN_WRAPPERS, "net")
"""`net` is that of `amp_checkpoint.pt`, which the original saves beside the weights in mixed precision."""

NAMES = {"bi": "AVLnet", "tri": "AVLnet-Text-Tri", "fused": "AVLnet-Text-Fused"}


def shape_of(weights: Mapping[str, Tensor], path: Path) -> Shape:
    """Which AVLnet a state dict is of.

    Raises:
        CheckpointError: of none.
    """
    variant: Variant = (
        "fused"
        if "GU_audio_text.cg.fc.weight" in weights
        else "tri"
        if "GU_text_captions.fc.weight" in weights
        else "bi"
    )
    try:
        dim, picture_dim = weights["GU_video.fc.weight"].shape
        words = weights.get("text_pooling_caption.fc.weight")
        widths = [len(weights["DAVEnet.conv1.weight"])]
        while (stage := f"DAVEnet.layer{len(widths)}.0.conv1.weight") in weights:
            widths.append(len(weights[stage]))
        return Shape(variant, dim, picture_dim, Shape.word_dim if words is None else words.shape[1], tuple(widths))
    except (KeyError, ValueError):
        raise CheckpointError(
            f"{path} is no checkpoint of AVLnet (it has no GU_video or no DAVEnet): name another file"
        ) from None


def load_weights(net: AvlNet, path: Path) -> None:
    """Fills a network, strictly.

    Raises:
        CheckpointError: the file is missing, damaged, or of another variant or size.
    """
    weights = read_state_dict(path, wrappers=WRAPPERS)
    found = shape_of(weights, path)
    if found != net.shape:
        raise CheckpointError(
            f"{path} is {_described(found)}, but wanted is {_described(net.shape)}: change the config, or start from "
            "another file"
        )
    load_strictly(net, weights, path, NAMES[found.variant])


def _described(shape: Shape) -> str:
    return (
        f"{NAMES[shape.variant]} of dimension {shape.dim} (pictures {shape.picture_dim}, words {shape.word_dim}, sound "
        f"trunk {'-'.join(map(str, shape.sound_widths))})"
    )


def load_avlnet(path: Path) -> AvlNet:
    """The network that a file holds, in eval mode on the CPU.

    Raises:
        CheckpointError: the file is missing, damaged, or no AVLnet.
    """
    weights = read_state_dict(path, wrappers=WRAPPERS)
    shape = shape_of(weights, path)
    with torch.device("meta"):
        net = AvlNet(shape)
    load_strictly(net.to_empty(device="cpu"), weights, path, NAMES[shape.variant])
    return net.eval()


def save_weights(net: AvlNet, path: Path) -> None:
    """Writes a network as the authors do, whole or not at all; equal weights give equal bytes."""
    with new_file(path) as temporary, temporary.open("wb") as file:  # by a path, its random name would be in the bytes
        torch.save(net.state_dict(), file)
