"""Files of BERT, RoBERTa and CLAP, found without importing torch, and the tokenizers made from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from cache.errors import UserError
from pipeline.checkpoints.hub import TRANSFORMERS, local_folder, weight_files
from pipeline.checkpoints.official import fetch_or

Published = Literal["bert-base-uncased", "distilbert-base-uncased"]
VOCABULARY = "vocab.txt"
HUB_IDS: dict[Published, str] = {
    "bert-base-uncased": "google-bert/bert-base-uncased",
    "distilbert-base-uncased": "distilbert/distilbert-base-uncased",
}


def vocabulary_remedy(published: Published) -> str:
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
    file = local_folder(text_model, [VOCABULARY], vocabulary_remedy(published)) / VOCABULARY
    if not file.is_file():
        raise UserError(f"{file}, the vocabulary of {published}, is not there: {vocabulary_remedy(published)}.")
    return file


WORDS = 30522
MARKS = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102}


def load_bert_tokenizer(text_model: str, published: Published) -> Any:
    """The tokenizer in a local folder, or of a hub id from the Hugging Face cache or the hub.

    Args:
        text_model: the folder or hub id.
        published: the model whose vocabulary it has to be.

    Raises:
        UserError: there is no such folder, and neither cache nor hub has the vocabulary.
        CheckpointError: the vocabulary cannot be read, or is another one.
    """
    from transformers import BertTokenizer

    from pipeline.checkpoints.weights import CheckpointError

    file = vocabulary_file(text_model, published)
    try:
        lines = file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{file}, the vocabulary of {published}, cannot be read ({error}): {vocabulary_remedy(published)}"
        ) from None
    positions = {word: position for position, word in enumerate(lines)}
    if not len(positions) == len(lines) == WORDS or any(positions.get(mark) != at for mark, at in MARKS.items()):
        raise CheckpointError(
            f"{file} is not the vocabulary of {published}, which has {WORDS} words, {', '.join(MARKS)} on lines "
            f"{', '.join(str(at + 1) for at in MARKS.values())}: {vocabulary_remedy(published)}"
        )
    return BertTokenizer(vocab=positions, do_lower_case=True)


CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
TEXT_FILES = (
    "vocab.json",
    "merges.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
ROBERTA_VOCABULARY = ("vocab.json", "merges.txt")
ROBERTA_REMEDY = (
    "run `hearonce checkpoints fetch roberta-base`, or put vocab.json, merges.txt and config.json of "
    "https://huggingface.co/FacebookAI/roberta-base into a folder, and name that folder as `text_model` in the "
    "encoder's YAML"
)


def clap_remedy(name: str) -> str:
    """What to do when files of a CLAP lack."""
    return fetch_or(
        name,
        "put config.json, preprocessor_config.json, vocab.json, merges.txt and model.safetensors (or "
        "pytorch_model.bin) of https://huggingface.co/laion/clap-htsat-fused, or of another CLAP, into a folder and "
        "name that folder as `checkpoint` in the encoder's YAML",
    )


def clap_folder(name: str) -> Path:
    """The folder of a model, a local one or the hub's in the Hugging Face cache.

    Raises:
        UserError: it is to be had neither here nor from the hub, or is not complete.
    """
    folder = local_folder(name, (CONFIG, PREPROCESSOR, *TEXT_FILES), clap_remedy(name), TRANSFORMERS)
    missing = [file for file in (CONFIG, PREPROCESSOR) if not (folder / file).is_file()]
    if missing:
        raise UserError(f"{folder} lacks {' and '.join(missing)}: {clap_remedy(name)}.")
    return folder


def roberta_folder(text_model: str) -> Path:
    """The folder of the text branch's configuration and tokenizer, local or the hub's in the Hugging Face cache.

    Raises:
        UserError: it is to be had neither here nor from the hub, or lacks a file.
    """
    folder = local_folder(text_model, (CONFIG, *ROBERTA_VOCABULARY), ROBERTA_REMEDY)
    words = () if (folder / "tokenizer.json").is_file() else ROBERTA_VOCABULARY
    missing = [file for file in (CONFIG, *words) if not (folder / file).is_file()]
    if missing:
        raise UserError(f"{folder} lacks {' and '.join(missing)}: {ROBERTA_REMEDY}.")
    return folder


def network_files(folder: Path) -> dict[str, Path]:
    """Files that decide what the networks compute."""
    return {path.name: path for path in (folder / CONFIG, folder / PREPROCESSOR, *weights_of(folder))}


def weights_of(folder: Path) -> list[Path]:
    """The files that together hold the weights.

    Raises:
        UserError: there are none, or a shard is missing.
    """
    return weight_files(folder, TRANSFORMERS, clap_remedy(str(folder)))


def text_files(folder: Path) -> dict[str, Path]:
    """Files that decide how a caption is cut into tokens, as far as they are there."""
    return {name: folder / name for name in TEXT_FILES if (folder / name).is_file()}


def load_roberta_tokenizer(folder: Path) -> Any:
    """The tokenizer in a folder.

    Raises:
        CheckpointError: the files lack, or are not a tokenizer's.
    """
    from transformers import RobertaTokenizer

    from pipeline.checkpoints.weights import CheckpointError, first_line

    if not (folder / "tokenizer.json").is_file():
        # Without these RobertaTokenizer would silently make a tokenizer that knows no words.
        missing = [name for name in ROBERTA_VOCABULARY if not (folder / name).is_file()]
        if missing:
            raise CheckpointError(f"{folder} lacks {' and '.join(missing)} of the RoBERTa tokenizer")
    try:
        return RobertaTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # damaged files raise anything
        raise CheckpointError(f"{folder} has no usable RoBERTa tokenizer: {first_line(error)}") from error


GPT2_REMEDY = (
    "run `hearonce checkpoints fetch gpt2`, or put vocab.json and merges.txt of "
    "https://huggingface.co/openai-community/gpt2 into a folder, and name that folder as `text_model` in the "
    "encoder's YAML"
)
GPT2_WORDS, GPT2_END, GPT2_PAD = 50257, "<|endoftext|>", "!"


def gpt2_files(text_model: str) -> dict[str, Path]:
    """Vocabulary and merges in a local folder, or of a hub id from the Hugging Face cache or the hub.

    Raises:
        UserError: there is no such folder, and neither cache nor hub has them, or one lacks.
    """
    folder = local_folder(text_model, ROBERTA_VOCABULARY, GPT2_REMEDY)
    if missing := [name for name in ROBERTA_VOCABULARY if not (folder / name).is_file()]:
        raise UserError(f"{folder} lacks {' and '.join(missing)} of gpt2: {GPT2_REMEDY}.")
    return {name: folder / name for name in ROBERTA_VOCABULARY}


def load_gpt2_tokenizer(text_model: str) -> Any:
    """The tokenizer of gpt2 with `!`, its token 0, as padding, so that `!` is always a token of its own (as in msclap).

    Raises:
        UserError: a file lacks.
        CheckpointError: the files are not those of gpt2.
    """
    from transformers import GPT2Tokenizer

    from pipeline.checkpoints.weights import CheckpointError, first_line

    files = gpt2_files(text_model)
    folder = files["vocab.json"].parent
    try:
        tokenizer = GPT2Tokenizer(vocab=str(files["vocab.json"]), merges=str(files["merges.txt"]))
        tokenizer.add_special_tokens({"pad_token": GPT2_PAD})
    except Exception as error:  # damaged files raise anything
        raise CheckpointError(f"{folder} has no usable GPT-2 tokenizer: {first_line(error)}") from error
    marks = tuple(tokenizer.convert_tokens_to_ids([GPT2_PAD, GPT2_END]))
    if (len(tokenizer), *marks) != (GPT2_WORDS, 0, GPT2_WORDS - 1):
        raise CheckpointError(
            f"{folder} is not the vocabulary of gpt2, which has {GPT2_WORDS} tokens, {GPT2_PAD} the first and "
            f"{GPT2_END} the last: {GPT2_REMEDY}"
        )
    return tokenizer
