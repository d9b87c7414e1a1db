"""The files of a CLAP of `transformers`, and those of roberta-base; imports neither torch nor transformers."""

from __future__ import annotations

from pathlib import Path

from cache.errors import UserError
from pipeline.checkpoints.official import fetch_or
from pipeline.hub_files import TRANSFORMERS, local_folder, weight_files

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
TEXT_FILES = (
    "vocab.json",
    "merges.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
REQUIRED_WORDS = ("vocab.json", "merges.txt")
ROBERTA_REMEDY = (
    "run `hearonce checkpoints fetch roberta-base`, or put vocab.json, merges.txt and config.json of "
    "https://huggingface.co/FacebookAI/roberta-base into a folder, and name that folder as `text_model` in the "
    "encoder's YAML"
)


def remedy(name: str) -> str:
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
    folder = local_folder(name, (CONFIG, PREPROCESSOR, *TEXT_FILES), remedy(name), TRANSFORMERS)
    missing = [file for file in (CONFIG, PREPROCESSOR) if not (folder / file).is_file()]
    if missing:
        raise UserError(f"{folder} lacks {' and '.join(missing)}: {remedy(name)}.")
    return folder


def roberta_folder(text_model: str) -> Path:
    """The folder of the text branch's configuration and tokenizer, local or the hub's in the Hugging Face cache.

    Raises:
        UserError: it is to be had neither here nor from the hub, or lacks a file.
    """
    folder = local_folder(text_model, (CONFIG, *REQUIRED_WORDS), ROBERTA_REMEDY)
    words = () if (folder / "tokenizer.json").is_file() else REQUIRED_WORDS
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
    return weight_files(folder, TRANSFORMERS, remedy(str(folder)))


def text_files(folder: Path) -> dict[str, Path]:
    """Files that decide how a caption is cut into tokens, as far as they are there."""
    return {name: folder / name for name in TEXT_FILES if (folder / name).is_file()}
