"""Files of roberta-base for tests: a tokenizer of single bytes, a configuration of the real or of a small network."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.networks.laion_clap import ROBERTA_BASE

SMALL = {"num_hidden_layers": 1, "vocab_size": 400, "intermediate_size": 256}
"""A text branch that costs nothing, with the width that CLAP's projection expects."""


def write(folder: Path, **changes: int) -> Path:
    """Writes a byte-level BPE like roberta-base's, without merges, and roberta-base's configuration."""
    settings = {"model_type": "roberta", "architectures": ["RobertaForMaskedLM"], **ROBERTA_BASE, **changes}
    marks = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
    printable = [chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324))]
    letters = {letter: len(marks) + i for i, letter in enumerate(printable)}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({**marks, **letters, "<mask>": settings["vocab_size"] - 1}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "config.json").write_text(json.dumps(settings))
    return folder
