"""CLIP and its relatives by `transformers`: either tower, its weights loaded strictly; processors and tokenizers."""

from __future__ import annotations

import string
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoTokenizer,
    CLIPModel,
    MetaClip2Model,
    PreTrainedTokenizerFast,
    Siglip2Model,
    SiglipModel,
    XCLIPModel,
)
from transformers.initialization import no_init_weights
from transformers.utils import logging

from pipeline.checkpoints.hub import read_json
from pipeline.checkpoints.weights import CheckpointError, drop_position_ids, first_line, load_strictly, read_files

ARCHITECTURES = {
    "clip": CLIPModel,
    "metaclip_2": MetaClip2Model,
    "siglip": SiglipModel,
    "siglip2": Siglip2Model,
    "xclip": XCLIPModel,
}
"""By `model_type` of `config.json`."""


def load(folder: Path, weights: Iterable[Path], tower: Literal["vision", "text"]) -> Any:
    """Builds the model that `config.json` describes and fills one of its towers; all keys have to fit.

    Args:
        folder: holds `config.json`.
        weights: the files that together hold the weights.
        tower: the one that is wanted; the other is checked against the files but has no memory.

    Raises:
        CheckpointError: a file cannot be used, or a key is missing, unexpected or of another shape.
    """
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # SigLIP's published settings make it warn of token ids that play no part
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        architecture = ARCHITECTURES[config.model_type]
        with no_init_weights():
            model = architecture(config).float()  # whatever `dtype` the settings name
    except Exception as error:  # damaged settings raise anything
        raise CheckpointError(
            f"{folder / 'config.json'} describes no model of this family: {first_line(error)}"
        ) from error
    finally:
        logging.set_verbosity(verbosity)
    files = list(weights)
    state = read_files(files)
    drop_position_ids(state, files[0])
    unwanted = "text_model" if tower == "vision" else "vision_model"
    setattr(model, unwanted, getattr(model, unwanted).to("meta"))
    skip = f"{unwanted}."
    load_strictly(
        model, state, files[0], f"{architecture.__name__} as in config.json", skip=lambda k: k.startswith(skip)
    )
    setattr(model, unwanted, None)
    return model.eval().requires_grad_(False)


def load_processor(folder: Path) -> Any:
    """The image processor of a folder, as `transformers` makes it for tensors.

    Raises:
        CheckpointError: the folder has none.
    """
    try:
        return AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="torchvision")
    except Exception as error:  # missing and damaged settings raise anything
        raise CheckpointError(f"{folder} has no usable preprocessor_config.json: {first_line(error)}") from error


Text = Literal["canonical", "lower", "none"]

WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)
LEGACY_EOS = 2
"""`eos_token_id` in older settings of CLIP: the highest token id of a caption is its end."""


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder; SigLIP's from `tokenizer.json` wherever there is one, so without SentencePiece.

    Raises:
        CheckpointError: the folder has none that can be used here.
    """
    settings = folder / "tokenizer_config.json"
    declared = str(read_json(settings).get("tokenizer_class")) if settings.is_file() else ""
    foreign = not (folder / "config.json").is_file() or "model_type" not in read_json(folder / "config.json")
    own_file = (foreign or declared.startswith("SiglipTokenizer")) and (folder / "tokenizer.json").is_file()
    try:
        loader = PreTrainedTokenizerFast if own_file else AutoTokenizer
        return loader.from_pretrained(folder, local_files_only=True)
    except ImportError as error:
        raise CheckpointError(
            f"{folder} has a SentencePiece model but no tokenizer.json: put tokenizer.json of the same model beside "
            "it, or run `uv pip install sentencepiece`"
        ) from error
    except Exception as error:  # damaged files raise anything
        raise CheckpointError(f"{folder} has no usable tokenizer: {first_line(error)}") from error


def text_rule(model_type: str, tokenizer: Any) -> Text:
    """How the captions of a model's training were written, from its kind and its tokenizer."""
    if not model_type.startswith("siglip"):
        return "none"
    gemma = model_type == "siglip2" or "<bos>" in tokenizer.get_vocab()
    return "lower" if gemma else "canonical"


def rewrite(caption: str, rule: Text) -> str:
    """A caption as the model was trained to read it."""
    if rule == "none":
        return caption
    lower = caption.lower()
    return lower if rule == "lower" else " ".join(lower.translate(WITHOUT_PUNCTUATION).split())
