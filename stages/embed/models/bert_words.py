"""The tokenizer of BERT without capitals, which DistilBERT shares, from its vocabulary alone."""

from __future__ import annotations

from typing import Any

from transformers import BertTokenizer

from pipeline.checkpoints.weights import CheckpointError
from stages.embed.models.bert_files import Published, remedy, vocabulary_file

WORDS = 30522
MARKS = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102}


def load_tokenizer(text_model: str, published: Published) -> Any:
    """The tokenizer in a local folder, or of a hub id from the Hugging Face cache or the hub.

    Args:
        text_model: the folder or hub id.
        published: the model whose vocabulary it has to be.

    Raises:
        UserError: there is no such folder, and neither cache nor hub has the vocabulary.
        CheckpointError: the vocabulary cannot be read, or is another one.
    """
    file = vocabulary_file(text_model, published)
    try:
        lines = file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{file}, the vocabulary of {published}, cannot be read ({error}): {remedy(published)}"
        ) from None
    places = {word: place for place, word in enumerate(lines)}
    if not len(places) == len(lines) == WORDS or any(places.get(mark) != at for mark, at in MARKS.items()):
        raise CheckpointError(
            f"{file} is not the vocabulary of {published}, which has {WORDS} words, {', '.join(MARKS)} on lines "
            f"{', '.join(str(at + 1) for at in MARKS.values())}: {remedy(published)}"
        )
    return BertTokenizer(vocab=places, do_lower_case=True)
