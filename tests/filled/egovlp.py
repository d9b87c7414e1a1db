"""The encoder family `egovlp` with a checkpoint of the published keys and shapes, filled with known weights."""

import json
from pathlib import Path

import torch
from filled.bert_words import write_words
from parity.fill import fill_array

from stages.embed.encoders.egovlp import ENCODER, Config, EgoVLP

KEYS = json.loads((Path(__file__).parents[1] / "parity/golden/keys_egovlp_frozen_in_time_4f.json").read_text())["keys"]

CHEAP = {"num_frames": 2}
"""Options under which the tests that hold for every encoder take less time."""


def encoder(folder: Path, **options: object) -> EgoVLP:
    """The encoder with its checkpoint and a small vocabulary in the folder, where they are written if not there."""
    checkpoint, vocabulary = folder / "egovlp.pth", folder / "distilbert-base-uncased" / "vocab.txt"
    if not checkpoint.exists():
        weights = {f"module.{key}": torch.from_numpy(fill_array(key, shape)) for key, shape, _ in KEYS}
        weights["module.text_model.embeddings.position_ids"] = torch.arange(512)[None]
        torch.save({"arch": "FrozenInTime", "epoch": 5, "state_dict": weights}, checkpoint)
    write_words(vocabulary)
    given = {"checkpoint": checkpoint, "text_model": str(vocabulary.parent), "num_frames": 4, **options}
    return ENCODER(Config(family="egovlp", **given))
