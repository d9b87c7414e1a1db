"""The tokenizer of CLAP's text branch."""

from __future__ import annotations

from typing import Any

from transformers import RobertaTokenizer

from pipeline.checkpoints.weights import CheckpointError
from stages.embed.models.hub_files import local_folder

TOKENIZER_FILES = ("vocab.json", "merges.txt")
REMEDY = (
    "run `hearonce checkpoints fetch roberta-base`, or put vocab.json, merges.txt and config.json of "
    "https://huggingface.co/FacebookAI/roberta-base into a folder, and name the folder (checkpoints/roberta-base) as "
    "`text_model` in the encoder's YAML"
)


def load_tokenizer(text_model: str, remedy: str = REMEDY) -> Any:
    """The tokenizer in a local folder, or of a hub id from the Hugging Face cache or the hub.

    Raises:
        UserError: there is no such folder, and neither cache nor hub has the files.
        CheckpointError: the files are not a tokenizer's.
    """
    folder = local_folder(text_model, TOKENIZER_FILES, remedy)
    if not (folder / "tokenizer.json").is_file():
        # Without these RobertaTokenizer would silently make a tokenizer that knows no words.
        missing = [name for name in TOKENIZER_FILES if not (folder / name).is_file()]
        if missing:
            raise CheckpointError(f"{folder} lacks {' and '.join(missing)} of the RoBERTa tokenizer")
    try:
        return RobertaTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # damaged files raise anything
        raise CheckpointError(f"{folder} has no usable RoBERTa tokenizer: {error}") from error
