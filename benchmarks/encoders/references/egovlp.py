"""EgoVLP's video tower as it runs on EgoMCQ: batch 1, 4 frames sought one by one by OpenCV, then embedded."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch

FRAMES, SIDE, CHUNK_S = 4, 224, 600
UNUSED = {"decord": {"bridge": SimpleNamespace(set_bridge=lambda name: None)}, "ffmpeg": {}}
"""Packages that the original imports for readers that are not used here."""


def load(
    reference: Path, checkpoint: Path, text: Path, device: torch.device | None = None
) -> Callable[[Path], np.ndarray]:
    """The original network behind the original reader and transform.

    `model/model.py` is not imported, which asks for the hub and for ImageNet weights that the checkpoint replaces: its
    line for a clip, a linear layer, stands here. Resizing does not smooth, as in the torchvision of the original.

    Args:
        reference: a checkout of EgoVLP. It needs `uv pip install einops opencv-python-headless`.
        checkpoint: `egovlp.pth`.
        text: not needed for clips.
        device: where the network runs.

    Returns:
        What decodes and embeds one video file, all of it as one clip: (1, 256).
    """
    missing = [name for name in ("cv2", "einops") if importlib.util.find_spec(name) is None]
    if missing:
        raise SystemExit(f"EgoVLP's code needs {', '.join(missing)}: uv pip install einops opencv-python-headless")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = _module(reference / "model" / "video_transformer.py").SpaceTimeTransformer(num_frames=FRAMES)
        readers = _module(reference / "base" / "base_dataset.py")
        transform = _module(reference / "data_loader" / "transforms.py").init_video_transform_dict()["test"]
    for step in transform.transforms:
        if hasattr(step, "antialias"):
            step.antialias = False
    network.head = network.pre_logits = torch.nn.Identity()
    head = torch.nn.Linear(network.embed_dim, 256)
    weights = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["state_dict"]
    for module, prefix in ((network, "module.video_model."), (head, "module.vid_proj.0.")):
        module.load_state_dict({k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)})
        module.to(device or "cpu").eval()

    @torch.no_grad()
    def embed(file: Path) -> np.ndarray:
        times = {"start_sec": 0.0, "end_sec": _seconds(readers.cv2, file), "bound_sec": CHUNK_S}
        frames, _ = readers.video_reader["cv2_egoclip"](str(file), str(file), FRAMES, "uniform", **times)
        clip = torch.zeros(FRAMES, 3, SIDE, SIDE)
        clip[: len(frames)] = transform(frames.transpose(0, 1)).transpose(0, 1)
        return head(network(clip[None].to(device or "cpu"))).cpu().numpy()

    return embed


def _seconds(cv2: Any, file: Path) -> float:
    video = cv2.VideoCapture(str(file))
    try:
        return video.get(cv2.CAP_PROP_FRAME_COUNT) / video.get(cv2.CAP_PROP_FPS)
    finally:
        video.release()


def _module(path: Path) -> Any:
    """A module of the original under a name of its own, so that no other checkout's `model` is in the way."""
    for name, content in UNUSED.items():
        if name not in sys.modules and importlib.util.find_spec(name) is None:
            sys.modules[name] = ModuleType(name)
            vars(sys.modules[name]).update(content)
    spec = importlib.util.spec_from_file_location(f"egovlp_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise SystemExit(f"{path} is not there: give a checkout of https://github.com/showlab/EgoVLP")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
