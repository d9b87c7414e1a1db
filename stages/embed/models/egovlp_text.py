"""The tokenizer of EgoVLP's text tower: the vocabulary of `distilbert-base-uncased`, which is BERT's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.utils import logging
from transformers import BertTokenizer

from pipeline.checkpoints.weights import CheckpointError

VOCABULARY, WORDS = "vocab.txt", 30522
MARKS = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102}


def load_tokenizer(text_model: str) -> Any:
    """The tokenizer in a local folder, or of a hub id from the Hugging Face cache or the hub.

    Raises:
        CheckpointError: there is no such folder, neither cache nor hub has the vocabulary, or it is another one.
    """
    folder = Path(text_model)
    file = folder / VOCABULARY if folder.is_dir() else _from_hub(text_model)
    try:
        lines = file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file}, the vocabulary of distilbert-base-uncased, cannot be read: {error}") from error
    places = {word: place for place, word in enumerate(lines)}
    if len(lines) > WORDS or len(places) != len(lines) or any(places.get(mark) != at for mark, at in MARKS.items()):
        raise CheckpointError(
            f"{file} is not the vocabulary of distilbert-base-uncased, which has {WORDS} words, {', '.join(MARKS)} on "
            f"lines {', '.join(str(at + 1) for at in MARKS.values())}: fetch distilbert/distilbert-base-uncased"
        )
    return BertTokenizer(vocab=places, do_lower_case=True)


def _from_hub(hub_id: str) -> Path:
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # one sentence of ours instead of dozens of retries
    try:
        return Path(hf_hub_download(hub_id, VOCABULARY))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"the tokenizer {hub_id!r} is neither a local folder, nor in the Hugging Face cache, nor to be had from "
            f"the hub now: put {VOCABULARY} of https://huggingface.co/distilbert/distilbert-base-uncased into a folder "
            "and name that folder as `text_model` in the encoder's YAML"
        ) from error
    finally:
        logging.set_verbosity(verbosity)
