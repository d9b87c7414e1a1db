"""The tokenizer of EgoVLP's text tower: the vocabulary of `distilbert-base-uncased`, which is BERT's."""

from __future__ import annotations

from typing import Any

from transformers import BertTokenizer

from stages.embed.models.checkpoint import CheckpointError
from stages.embed.models.hub_files import local_folder

VOCABULARY, WORDS = "vocab.txt", 30522
REMEDY = (
    "`hearonce checkpoints fetch distilbert-base-uncased`, or put vocab.txt of "
    "https://huggingface.co/distilbert/distilbert-base-uncased into a folder and name it as `text_model` in the YAML"
)
MARKS = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102}


def load_tokenizer(text_model: str) -> Any:
    """The tokenizer in a local folder, or of a hub id from the Hugging Face cache or the hub.

    Raises:
        UserError: there is no such folder, neither cache nor hub has the vocabulary, or it is another one.
    """
    file = local_folder(text_model, [VOCABULARY], REMEDY) / VOCABULARY
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
