"""Where the vocabulary of BERT without capitals is; imports neither torch nor transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from cache.errors import UserError
from pipeline.hub_files import local_folder

Published = Literal["bert-base-uncased", "distilbert-base-uncased"]
VOCABULARY = "vocab.txt"
HUB_IDS: dict[Published, str] = {
    "bert-base-uncased": "google-bert/bert-base-uncased",
    "distilbert-base-uncased": "distilbert/distilbert-base-uncased",
}


def remedy(published: Published) -> str:
    """What to do when the vocabulary lacks or is damaged."""
    return (
        f"run `hearonce checkpoints fetch {published}`, or put {VOCABULARY} of https://huggingface.co/"
        f"{HUB_IDS[published]} into a folder, and name that folder as `text_model` in the encoder's YAML"
    )


def vocabulary_file(text_model: str, published: Published) -> Path:
    """The vocabulary in a local folder, or of a hub id from the Hugging Face cache or the hub.

    Args:
        text_model: the folder or hub id.
        published: the model whose vocabulary it has to be.

    Raises:
        UserError: there is no such folder, and neither cache nor hub has the vocabulary.
    """
    file = local_folder(text_model, [VOCABULARY], remedy(published)) / VOCABULARY
    if not file.is_file():
        raise UserError(f"{file}, the vocabulary of {published}, is not there: {remedy(published)}.")
    return file
