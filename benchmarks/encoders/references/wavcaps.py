"""WavCaps' audio tower as audio_egovlp runs it: batch 1, each file decoded and then embedded."""

from __future__ import annotations

import importlib
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import torch
import yaml
from torch.nn import functional

PREFIX = "audio_encoder."


def load(
    reference: Path, checkpoint: Path, text: Path, device: torch.device | None = None
) -> Callable[[Path], np.ndarray]:
    """The original network behind the original loader's arithmetic.

    Only `model/model.py` is not imported, which asks for the video model's packages too: its two lines for a clip,
    a head and a normalisation, stand here, and weights are loaded strictly in two parts.

    Args:
        reference: a checkout of audio_egovlp.
        checkpoint: `HTSAT-BERT-*.pt`.
        text: not needed for clips.
        device: where the network runs; the CPU by default.

    Returns:
        What decodes and embeds one sound file: (1, 1024).
    """
    config = yaml.safe_load((reference / "configs" / "eval" / "inference.yaml").read_text(encoding="utf-8"))
    config["audio_encoder_args"]["pretrained"] = False  # else HTSAT.ckpt is read first and then overwritten
    sys.path.insert(0, str(reference))
    try:
        module: Any = importlib.import_module("model.audio_encoder")
    finally:
        sys.path.remove(str(reference))
    weights = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["model"]
    encoder = module.AudioEncoder(config)
    encoder.load_state_dict({k.removeprefix(PREFIX): v for k, v in weights.items() if k.startswith(PREFIX)})
    size = config["embed_size"]
    head = torch.nn.Sequential(torch.nn.Linear(encoder.audio_width, size), torch.nn.ReLU(), torch.nn.Linear(size, size))
    head.load_state_dict({k.removeprefix("audio_proj."): v for k, v in weights.items() if k.startswith("audio_proj.")})
    device = device or torch.device("cpu")
    encoder.to(device).eval()
    head.to(device).eval()
    rate, seconds = config["audio_args"]["sr"], config["audio_args"]["max_length"]

    @torch.no_grad()
    def embed(file: Path) -> np.ndarray:
        samples = _cropped_or_padded(librosa.load(file, sr=rate, mono=True)[0], rate * seconds)
        waveform = torch.from_numpy(samples)[None].to(device)
        return functional.normalize(head(encoder(waveform)), dim=-1).cpu().numpy()

    return embed


def _cropped_or_padded(samples: np.ndarray, length: int) -> np.ndarray:
    if len(samples) > length:
        start = random.randint(0, len(samples) - length)
        return samples[start : start + length]
    return np.pad(samples, (0, length - len(samples)))
