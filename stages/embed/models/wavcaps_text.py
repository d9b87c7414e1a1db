"""What WavCaps' text tower reads: tokens of `bert-base-uncased`, and captions without capitals and punctuation."""

from __future__ import annotations

import re
from typing import Any

from transformers import BertTokenizer

from pipeline.checkpoints.weights import CheckpointError
from stages.embed.models.hub_files import local_folder

VOCABULARY, WORDS = "vocab.txt", 30522
MARKS = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102}
REMEDY = (
    f"run `hearonce checkpoints fetch bert-base-uncased`, or put {VOCABULARY} of "
    "https://huggingface.co/google-bert/bert-base-uncased into a folder, and name that folder as `text_model` in the "
    "encoder's YAML"
)

_SPACE_BEFORE_PUNCTUATION = re.compile(r'\s([,.!?;:"](?:\s|$))')
_PUNCTUATION = re.compile(r'[(,.!?;:|*")]')


def spoken_text(caption: str) -> str:
    """A caption as WavCaps prepares it for training: lower case, a space for each punctuation mark.

    Pairs of spaces become one, once before and once after the marks, as in the original: three in a row leave two.
    """
    closed = _SPACE_BEFORE_PUNCTUATION.sub(r"\1", caption.lower()).replace("  ", " ")
    return _PUNCTUATION.sub(" ", closed).replace("  ", " ")


def load_tokenizer(text_model: str) -> Any:
    """The tokenizer in a local folder, or of a hub id from the Hugging Face cache or the hub.

    Raises:
        UserError: there is no such folder, and neither cache nor hub has the vocabulary.
        CheckpointError: the vocabulary cannot be read, or is another one.
    """
    file = local_folder(text_model, [VOCABULARY], REMEDY) / VOCABULARY
    try:
        lines = file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{file}, the vocabulary of bert-base-uncased, cannot be read ({error}): {REMEDY}"
        ) from None
    places = {word: place for place, word in enumerate(lines)}
    if not len(places) == len(lines) == WORDS or any(places.get(mark) != at for mark, at in MARKS.items()):
        raise CheckpointError(
            f"{file} is not the vocabulary of bert-base-uncased, which has {WORDS} words, {', '.join(MARKS)} on "
            f"lines {', '.join(str(at + 1) for at in MARKS.values())}: {REMEDY}"
        )
    return BertTokenizer(vocab=places, do_lower_case=True)
