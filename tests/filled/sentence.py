"""Folders that sentence-transformers 6.2 wrote: its files from golden numbers, weights filled by their names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from parity.fill import fill_array
from safetensors.torch import save_file

GOLDEN = json.loads((Path(__file__).parents[1] / "parity" / "golden" / "sentence_transformers.json").read_text())
NAMES, TEXTS = list(GOLDEN["models"]), GOLDEN["texts"]


def write(folder: Path, name: str = NAMES[0]) -> Path:
    """Writes the folder of one model."""
    model = GOLDEN["models"][name]
    for relative, content in model["files"].items():
        (folder / relative).parent.mkdir(parents=True, exist_ok=True)
        (folder / relative).write_text(content)
    for relative, shapes in model["shapes"].items():
        filled = {key: fill_array(key, shape) for key, shape in shapes.items()}
        save_file({key: torch.from_numpy(np.asarray(value)) for key, value in filled.items()}, folder / relative)
    return folder


def rows_of(name: str) -> dict[str, np.ndarray]:
    """What the package's `encode` gave for the texts: by prompt or its name, "" for none asked for."""
    return {prompt: np.array(rows, np.float32) for prompt, rows in GOLDEN["models"][name]["rows"].items()}
