"""Sentence encoders by a local folder or hub id, found without importing torch.

Two forms: a folder as `sentence-transformers` writes it, whose `modules.json` says how token vectors become a
sentence's, and a plain model of `transformers`, for which the pooling has to be named.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from cache.errors import UserError
from pipeline.checkpoints import hub
from pipeline.checkpoints.official import fetch_or

Pooling = Literal["cls", "lasttoken", "max", "mean", "mean_sqrt_len_tokens", "weightedmean"]
LEGACY = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""Options of `1_Pooling/config.json` before one option named the modes, in the order in which they are joined."""

MODULES, PROMPTS = "modules.json", "config_sentence_transformers.json"
LENGTHS = ("sentence_bert_config.json", "sentence_roberta_config.json", "sentence_distilbert_config.json")
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
HUB_FILES = ("*.json", "vocab.txt", "merges.txt", "*.model", "0_*/*", "[1-9]_*/*")


@dataclass(frozen=True)
class Dense:
    """A linear layer after pooling.

    Attributes:
        inputs: width of what it takes.
        outputs: width of what it gives.
        bias: whether it adds one.
        activation: class name in `torch.nn`.
        weights: the file.
    """

    inputs: int
    outputs: int
    bias: bool
    activation: str
    weights: Path


@dataclass(frozen=True)
class SentenceModel:
    """What a sentence encoder is made of.

    Attributes:
        folder: `config.json`, tokenizer and weights of the transformer.
        weights: the files that together hold its weights.
        pooling: how token vectors are joined; several are concatenated.
        dense: linear layers after pooling.
        normalises: whether it brings its vectors to unit length itself.
        max_tokens: tokens that are read of a text, None for what tokenizer and network allow.
        lower_case: whether texts are lower-cased.
        prompts: texts that can be put before another, by name, and
        default_prompt: the name of the one that is, if none is asked for.
        pools_prompts: whether tokens of the prompt are pooled with the others.
    """

    folder: Path
    weights: list[Path]
    pooling: tuple[str, ...]
    dense: tuple[Dense, ...]
    normalises: bool
    max_tokens: int | None
    lower_case: bool
    prompts: dict[str, str]
    default_prompt: str | None
    pools_prompts: bool

    @property
    def dim(self) -> int:
        """Length of the embeddings."""
        if self.dense:
            return self.dense[-1].outputs
        settings = hub.read_json(self.folder / "config.json")
        width = next((settings[key] for key in ("hidden_size", "d_model", "dim", "n_embd") if key in settings), 0)
        return int(width) * len(self.pooling)

    def prompt(self, asked: str | None) -> str:
        """The text before a text: that of the name, else what is asked for itself, else the model's own default.

        Raises:
            UserError: the model does not pool a prompt's tokens, which is not offered here.
        """
        name = self.default_prompt if asked is None else asked
        found = "" if name is None else self.prompts.get(name, "" if asked is None else asked)
        if found and not self.pools_prompts:
            raise UserError(f"{self.folder} leaves prompts out of its pooling, which is not offered: use no prompt.")
        return found

    def identity(self, asked: str | None) -> dict[str, Any]:
        """All that decides a text's vector, given the prompt that is asked for; files as paths."""
        names = ("config.json", *TOKENIZER_FILES)
        dense = [(one.inputs, one.outputs, one.bias, one.activation, one.weights) for one in self.dense]
        return {
            "files": {name: self.folder / name for name in names if (self.folder / name).is_file()},
            "weights": self.weights,
            "pooling": list(self.pooling),
            "dense": dense,
            "max_tokens": self.max_tokens,
            "lower_case": self.lower_case,
            "prompt": self.prompt(asked),
        }


def find(model: str, pooling: Pooling | None = None) -> SentenceModel:
    """The settings and files of a sentence encoder.

    Args:
        model: a hub id, or a folder.
        pooling: for a plain model of `transformers`.

    Raises:
        UserError: it cannot be had, lacks a file, or is made of something else than transformer, pooling, linear layers
            and normalisation.
    """
    remedy = fetch_or(
        model,
        "put the files of the model, with its sub-folders, into a folder and name it as `text: {model: FOLDER}` in the "
        "encoder's YAML",
    )
    top = hub.local_folder(model, HUB_FILES, remedy, hub.TRANSFORMERS)
    modules = _modules(top)
    if modules is None and pooling is None:
        raise UserError(
            f"{top} has no {MODULES}, so that it says nothing of pooling: write `pooling: mean`, or another of "
            f"{', '.join(get_args(Pooling))}, beside `model` in the encoder's YAML."
        )
    if modules is not None and pooling is not None:
        raise UserError(f"{top / MODULES} names the pooling: leave `pooling: {pooling}` out of the encoder's YAML.")
    kinds = [kind for kind, _ in modules or [("Transformer", top), ("Pooling", top)]]
    if kinds[:2] != ["Transformer", "Pooling"] or set(kinds[2:]) - {"Dense", "Normalize"}:
        raise UserError(
            f"{top / MODULES} is made of {', '.join(kinds)}: read are Transformer, Pooling, then Dense and Normalize."
        )
    parts = [] if modules is None else [(kind, folder) for kind, folder in modules if kind != "Normalize"]
    folder = parts[0][1] if parts else top
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} has no config.json: {remedy}.")
    settings = hub.read_json(parts[1][1] / "config.json") if parts else {"pooling_mode": pooling}
    own = hub.read_json(top / PROMPTS) if (top / PROMPTS).is_file() else {}
    lengths = next((hub.read_json(folder / name) for name in LENGTHS if (folder / name).is_file()), {})
    _check_task(lengths, folder)
    dense = tuple(_dense(one, remedy) for kind, one in parts if kind == "Dense")
    if "Normalize" in kinds and "Dense" in kinds[kinds.index("Normalize") :]:
        raise UserError(f"{top / MODULES} has a linear layer after the normalisation, which is not read.")
    return SentenceModel(
        folder,
        hub.weight_files(folder, hub.TRANSFORMERS, remedy),
        _pooling(settings),
        dense,
        "Normalize" in kinds,
        lengths.get("max_seq_length"),
        bool(lengths.get("do_lower_case")),
        dict(own.get("prompts") or {}),
        own.get("default_prompt_name"),
        bool(settings.get("include_prompt", True)),
    )


def _modules(top: Path) -> list[tuple[str, Path]] | None:
    """(class, folder) of each module in order; None where the folder does not say."""
    path = top / MODULES
    if not path.is_file():
        return None
    try:
        found = sorted(json.loads(path.read_text(encoding="utf-8")), key=lambda one: one["idx"])
        return [(str(one["type"]).rsplit(".", 1)[1], top / one["path"]) for one in found]
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({error}): fetch it again.") from None


def _check_task(settings: dict[str, Any], folder: Path) -> None:
    text = (settings.get("modality_config") or {}).get("text") or {}
    stated = (
        settings.get("transformer_task", "feature-extraction"),
        text.get("method", "forward"),
        text.get("method_output_name", "last_hidden_state"),
    )
    if stated != ("feature-extraction", "forward", "last_hidden_state"):
        raise UserError(f"{folder} takes {', '.join(map(str, stated))} of its network, not the tokens' last vectors.")


def _pooling(settings: dict[str, Any]) -> tuple[str, ...]:
    stated = settings.get("pooling_mode") or [mode for key, mode in LEGACY.items() if settings.get(key)] or "mean"
    modes = (stated,) if isinstance(stated, str) else tuple(stated)
    unknown = set(modes) - set(get_args(Pooling))
    if unknown:
        raise UserError(f"The pooling {', '.join(sorted(unknown))} is not known: {', '.join(get_args(Pooling))} are.")
    return modes


def _dense(folder: Path, remedy: str) -> Dense:
    settings = hub.read_json(folder / "config.json")
    own = {key: settings.get(key) for key in ("module_input_name", "module_output_name")}
    if settings.get("use_residual") or any(value not in (None, "sentence_embedding") for value in own.values()):
        raise UserError(f"{folder / 'config.json'} describes a layer that is not plain, which is not read.")
    (weights,) = hub.weight_files(folder, hub.TRANSFORMERS, remedy)
    activation = str(settings.get("activation_function") or "torch.nn.Identity").rsplit(".", 1)[-1]
    return Dense(
        int(settings["in_features"]),
        int(settings["out_features"]),
        bool(settings.get("bias", True)),
        activation,
        weights,
    )
