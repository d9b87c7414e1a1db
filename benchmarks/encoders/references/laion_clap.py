"""LAION-CLAP's audio tower as audio_egovlp runs it on EPIC: batch 1, each file decoded and then embedded."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
import torchaudio
import torchvision
from torch import Tensor
from torch.nn import functional
from transformers import RobertaModel
from transformers.initialization import no_init_weights

from benchmarks.encoders.references.sound import load_mono
from pipeline.checkpoints.weights import drop_position_ids, read_state_dict
from pipeline.networks.laion_clap import text_config

RATE, LENGTH, HOP = 48_000, 480_000, 480
FRAMES = LENGTH // HOP + 1


def load(
    reference: Path, checkpoint: Path, text: Path, device: torch.device | None = None
) -> Callable[[Path], np.ndarray]:
    """The original network behind the original loader's arithmetic.

    The loader's module is not imported, which asks for the packages of the video models too; its arithmetic stands
    here, the filters that it makes anew for every clip included. The original's text branch is made without the hub.

    Args:
        reference: a checkout of audio_egovlp.
        checkpoint: `630k-audioset-fusion-best.pt`.
        text: a folder with `config.json` of roberta-base, or anything else for the published one.
        device: where the network runs; the CPU by default.

    Returns:
        What decodes and embeds one sound file: (1, 512).
    """
    weights = read_state_dict(checkpoint)
    drop_position_ids(weights, checkpoint)  # no longer a weight in current transformers
    model = _network(reference, text)
    model.load_state_dict(weights)
    device = device or torch.device("cpu")
    model.to(device).eval()

    @torch.no_grad()
    def embed(file: Path) -> np.ndarray:
        samples = torch.from_numpy(load_mono(file, RATE))
        mel, longer = _views(samples)
        clip = {"mel_fusion": mel[None].to(device), "longer": torch.tensor([[longer]])}
        features = model.audio_projection(model.encode_audio(clip, device=device)["embedding"])
        return functional.normalize(features, dim=-1).cpu().numpy()

    return embed


def _network(reference: Path, text: Path) -> Any:
    # A decorator of the original that measures memory, and that nothing calls.
    sys.modules.setdefault("pytorch_memlab", ModuleType("pytorch_memlab")).__dict__.setdefault("profile", None)
    sys.path.insert(0, str(reference))
    try:
        package: Any = importlib.import_module("src.open_clip")
        networks: Any = importlib.import_module("src.open_clip.model")
    finally:
        sys.path.remove(str(reference))
    config = text_config(text if (text / "config.json").is_file() else None)
    networks.RobertaModel = SimpleNamespace(from_pretrained=lambda _: RobertaModel(config))
    with no_init_weights():
        return package.create_model("HTSAT-tiny", "roberta", enable_fusion=True, fusion_type="aff_2d")[0]


def _views(samples: Tensor) -> tuple[Tensor, bool]:
    """Four spectrograms: the whole and three chunks, or four times the same."""
    if len(samples) <= LENGTH:
        repeated = samples.repeat(LENGTH // len(samples))
        return torch.stack([_mel(functional.pad(repeated, (0, LENGTH - len(repeated))))] * 4), False
    mel = _mel(samples)
    if len(mel) == FRAMES:
        return torch.stack([mel] * 4), False
    thirds = np.array_split(np.arange(len(mel) - FRAMES + 1), 3)
    starts = [np.random.choice(third) if len(third) else 0 for third in thirds]
    # audio_egovlp's torchvision 0.13 did not smooth
    whole = torchvision.transforms.Resize([FRAMES, mel.shape[1]], antialias=False)(mel[None])[0]
    return torch.stack([whole, *(mel[start : start + FRAMES] for start in starts)]), True


def _mel(samples: Tensor) -> Tensor:
    spectrogram = torchaudio.transforms.MelSpectrogram(
        RATE, n_fft=1024, hop_length=HOP, f_min=50, f_max=14_000, n_mels=64, norm=None, power=2.0
    )
    return torchaudio.transforms.AmplitudeToDB(top_db=None)(spectrogram(samples)).T
