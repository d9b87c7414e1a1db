"""The tokenizer of CLAP's text branch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import RobertaTokenizer

from pipeline.checkpoints.weights import CheckpointError, first_line
from stages.embed.models.clap_files import REQUIRED_WORDS


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer in a folder.

    Raises:
        CheckpointError: the files lack, or are not a tokenizer's.
    """
    if not (folder / "tokenizer.json").is_file():
        # Without these RobertaTokenizer would silently make a tokenizer that knows no words.
        missing = [name for name in REQUIRED_WORDS if not (folder / name).is_file()]
        if missing:
            raise CheckpointError(f"{folder} lacks {' and '.join(missing)} of the RoBERTa tokenizer")
    try:
        return RobertaTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # damaged files raise anything
        raise CheckpointError(f"{folder} has no usable RoBERTa tokenizer: {first_line(error)}") from error
