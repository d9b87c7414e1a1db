"""Checkpoints with the keys and shapes of published ones, filled with known weights."""

import json
from pathlib import Path

import torch
from parity.fill import fill_array

GOLDEN = Path(__file__).parents[1] / "parity/golden"


def write_weights(path: Path, keys: str) -> Path:
    """Writes a bare state dict with the keys that a golden file lists, if it is not there yet."""
    if not path.exists():
        weights = {}
        for key, shape, dtype in json.loads((GOLDEN / keys).read_text())["keys"]:
            values = fill_array(key, shape)
            kind = getattr(torch, dtype)
            weights[key] = torch.zeros(shape, dtype=kind) if values is None else torch.from_numpy(values).to(kind)
        torch.save(weights, path)
    return path
