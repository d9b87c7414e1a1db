"""EfficientNet-Lite0, an ImageNet-1k classifier, with the weights converted from TensorFlow."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from timm.layers import Conv2dSame
from torch import nn

from pipeline.checkpoints.weights import load_strictly, read_state_dict
from pipeline.checkpoints.wheels import WeightsError
from pipeline.networks.packed import SameConv2d

CLASSES = 1000
SIDE = 224
KEPT = SIDE / 256  # part of the short side that the centre crop keeps
CPU_CHUNK, CUDA_CHUNK = 4, 256  # frames per pass through the network
REPEATS = (1, 2, 2, 3, 3, 4, 1)  # blocks of each of timm's stages; the checkpoint counts them through
# Names inside a block: the first one has no expansion, so that timm numbers its norms differently.
FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
OTHER_BLOCKS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}


def class_names(path: Path) -> list[str]:
    """Names of the 1,000 classes from a JSON list, in the order of the scores."""
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} is not a readable list of class names: {error}") from error
    if not isinstance(names, list) or len(names) != CLASSES or not all(isinstance(name, str) for name in names):
        raise WeightsError(f"{path} does not list {CLASSES} class names")
    return names


def frame_input(frame: np.ndarray) -> np.ndarray:
    """Network input of one frame: its central square, 7/8 of the short side, scaled with bicubic filter.

    Args:
        frame: (height, width, 3) uint8 RGB.

    Returns:
        (224, 224, 3) uint8.
    """
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or frame.size == 0:
        raise ValueError(f"a frame is (height, width, 3) uint8, not {frame.shape} {frame.dtype}")
    height, width = frame.shape[:2]
    side = min(height, width) * KEPT
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    return np.asarray(Image.fromarray(frame).resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box))


def network_input(frames: Sequence[np.ndarray]) -> np.ndarray:
    """Network input of a clip's frames, which may differ in size: (frames, 224, 224, 3) uint8."""
    if len(frames) == 0:
        raise ValueError("a clip has at least one frame")
    return np.stack([frame_input(frame) for frame in frames])


def load_efficientnet(path: Path) -> nn.Module:
    """timm's ``tf_efficientnet_lite0`` (SAME padding, epsilon 1e-3) with a checkpoint of efficientnet-lite-pytorch.

    Raises:
        CheckpointError: the file cannot be read, or is another network's.
    """
    published = read_state_dict(path)
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    load_strictly(network, {timm_key(key): value for key, value in published.items()}, path, "EfficientNet-Lite0")
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, Conv2dSame):
                setattr(module, name, SameConv2d.of(child))
    return network.eval()


def timm_key(key: str) -> str:
    """timm's name of a published key: ``_blocks.2._bn0.weight`` is ``blocks.1.1.bn1.weight``. Unknown ones stay."""
    block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key)
    if block is None:
        layer, _, parameter = key.partition(".")
        return f"{OUTSIDE[layer]}.{parameter}" if layer in OUTSIDE else key
    index, stage = int(block[1]), 0
    while stage < len(REPEATS) and index >= REPEATS[stage]:
        index -= REPEATS[stage]
        stage += 1
    names = FIRST_BLOCK if stage == 0 else OTHER_BLOCKS
    if stage == len(REPEATS) or block[2] not in names:
        return key
    return f"blocks.{stage}.{index}.{names[block[2]]}.{block[3]}"


@torch.inference_mode()
def clip_scores(network: Any, clips: Sequence[np.ndarray]) -> np.ndarray:
    """Mean class probability of each clip's frames.

    On the CPU every clip goes through the network on its own, so that its scores do not depend on
    the clips beside it, not in a single bit. Elsewhere the frames of all clips share passes.

    Args:
        network: the classifier on the device to compute on.
        clips: (frames, 224, 224, 3) uint8 arrays, at least one frame each.

    Returns:
        (clips, 1000) float32.
    """
    device = network.classifier.weight.device
    if not clips:
        return np.empty((0, CLASSES), np.float32)
    if device.type == "cpu":
        per_clip = [_scores(network, clip, CPU_CHUNK) for clip in clips]
    else:
        per_clip = list(_scores(network, np.concatenate(clips), CUDA_CHUNK).split([len(clip) for clip in clips]))
    return torch.stack([scores.mean(dim=0) for scores in per_clip]).numpy()


def _scores(network: Any, frames: np.ndarray, chunk: int) -> torch.Tensor:
    device = network.classifier.weight.device
    parts = []
    for start in range(0, len(frames), chunk):
        pixels = torch.from_numpy(frames[start : start + chunk].copy()).to(device).permute(0, 3, 1, 2)
        parts.append(network((pixels.float() - 127.0) / 128.0).float().softmax(dim=1).cpu())
    return torch.cat(parts)
