"""The files of a CLAP of `transformers`; imports neither torch nor transformers."""

from __future__ import annotations

from pathlib import Path

from cache.errors import UserError
from stages.embed.models.hub_files import TRANSFORMERS, local_folder, weight_files

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
TEXT_FILES = (
    "vocab.json",
    "merges.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
REMEDY = (
    "put config.json, preprocessor_config.json, vocab.json, merges.txt and model.safetensors (or pytorch_model.bin) of "
    "https://huggingface.co/laion/clap-htsat-fused, or of another CLAP, into a folder and name that folder as "
    "`checkpoint` in the encoder's YAML"
)


def clap_folder(name: str) -> Path:
    """The folder of a model, a local one or the hub's in the Hugging Face cache.

    Raises:
        UserError: it is to be had neither here nor from the hub, or is not complete.
    """
    folder = local_folder(name, (CONFIG, PREPROCESSOR, *TEXT_FILES), REMEDY, TRANSFORMERS)
    missing = [file for file in (CONFIG, PREPROCESSOR) if not (folder / file).is_file()]
    if missing:
        raise UserError(f"{folder} lacks {' and '.join(missing)}: {REMEDY}.")
    return folder


def network_files(folder: Path) -> dict[str, Path]:
    """Files that decide what the networks compute."""
    weights = weight_files(folder, TRANSFORMERS, REMEDY)
    return {path.name: path for path in (folder / CONFIG, folder / PREPROCESSOR, *weights)}


def text_files(folder: Path) -> dict[str, Path]:
    """Files that decide how a caption is cut into tokens, as far as they are there."""
    return {name: folder / name for name in TEXT_FILES if (folder / name).is_file()}
