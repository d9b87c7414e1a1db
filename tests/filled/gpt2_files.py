"""The tokenizer files of gpt2 for tests: its marks, single bytes and first merges at their real ids."""

from __future__ import annotations

import json
from pathlib import Path

WORDS, END = 50257, "<|endoftext|>"
MERGES = ("Ġ t", "Ġ a", "h e", "i n", "r e", "o n", "Ġt he", "e r", "Ġ s", "a t")
"""The first ten of gpt2; `the` after a space is one token, and `at`."""


def write(folder: Path) -> Path:
    """Writes `vocab.json` and `merges.txt` like gpt2's, with stand-ins for all later words, unless they are there."""
    if not (folder / "merges.txt").exists():
        letters = [chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324))]
        words = [*letters, *(merge.replace(" ", "") for merge in MERGES), "!!", "Ġ!"]
        words += [f"[word{i}]" for i in range(len(words), WORDS - 1)]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate([*words, END])}))
        merges = [*MERGES, "! !", "Ġ !"]
        (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    return folder
