"""Models of the package open_clip_torch by name, hub id or folder, found without importing the package or torch.

The package is optional (`uv sync --extra open-clip`). Its table of published weights is in a module whose import brings
torch along; planning reads the table's own statements of that file instead.
"""

from __future__ import annotations

import ast
import copy
import importlib.util
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from cache.errors import UserError
from pipeline.checkpoints import hub
from pipeline.checkpoints.official import existing, fetch_or
from pipeline.console.text import did_you_mean

SETTINGS = "open_clip_config.json"
MISSING = (
    "The family open-clip needs the package open_clip_torch, which is not installed: run `uv sync --extra open-clip`."
)
TEXT_FILES = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
)
PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")


@dataclass(frozen=True)
class OpenClipModel:
    """What open_clip needs to build a model.

    Attributes:
        settings: its `model_cfg`.
        preprocessing: what differs from open_clip's default preprocessing: `mean`, `std`, `interpolation`,
            `resize_mode`, `size`, `fill_color`.
        weights: the files that together hold the weights.
        text_folder: `config.json` and tokenizer of a text tower of `transformers`; None for open_clip's own.
    """

    settings: dict[str, Any]
    preprocessing: dict[str, Any]
    weights: list[Path]
    text_folder: Path | None

    def text_files(self) -> dict[str, Path]:
        """Files that decide how a caption is cut into tokens."""
        if self.text_folder is None:
            return {"vocabulary": package_folder() / "bpe_simple_vocab_16e6.txt.gz"}
        return {name: self.text_folder / name for name in TEXT_FILES if (self.text_folder / name).is_file()}


def find(
    model: str,
    pretrained: str | None = None,
    checkpoint: Path | None = None,
    text_model: str | None = None,
    quick_gelu: bool | None = None,
) -> OpenClipModel:
    """The settings and files of a model.

    Args:
        model: a name of open_clip, `hf-hub:ID`, or a folder in its format (`local-dir:FOLDER` or a plain path).
        pretrained: tag of published weights; for names only.
        checkpoint: a file with weights instead of the published ones.
        text_model: hub id or folder of the tokenizer, and of the settings of a text tower of `transformers`.
        quick_gelu: whether the weights were trained with QuickGELU; as the settings and the tag say if None.

    Raises:
        UserError: the package is not installed, there is no such model or tag, or a file cannot be had.
    """
    package_folder()
    kind, _, rest = model.partition(":")
    if kind == "hf-hub" or kind == "local-dir" or Path(model).expanduser().is_dir():
        if pretrained is not None:
            raise UserError(f"{model} has weights of its own: leave `pretrained: {pretrained}` out of the YAML.")
        found = _of_folder(rest if kind in ("hf-hub", "local-dir") else model, checkpoint)
    else:
        found = _of_name(model.replace("/", "-"), pretrained, checkpoint, quick_gelu)
    settings, preprocessing, weights, folder = found
    if quick_gelu is not None:
        settings["quick_gelu"] = quick_gelu
    return OpenClipModel(settings, preprocessing, weights, _text_folder(settings["text_cfg"], folder, text_model))


Found = tuple[dict[str, Any], dict[str, Any], list[Path], Path | None]


def _of_folder(name: str, checkpoint: Path | None) -> Found:
    wanted = hub.OPEN_CLIP if checkpoint is None else ((),)
    remedy = fetch_or(
        name,
        f"put {SETTINGS}, open_clip_model.safetensors (or open_clip_pytorch_model.bin) and the tokenizer's files of "
        "the model into a folder and name it as `model` in the encoder's YAML",
    )
    folder = hub.local_folder(name, (SETTINGS, *TEXT_FILES), remedy, wanted)
    content = hub.read_json(folder / SETTINGS)
    settings = content.get("model_cfg")
    if not isinstance(settings, dict) or not {"embed_dim", "vision_cfg", "text_cfg"} <= settings.keys():
        raise UserError(f"{folder / SETTINGS} has no `model_cfg` with embed_dim, vision_cfg and text_cfg: {remedy}.")
    stated = content.get("preprocess_cfg") or {}
    weights = [existing(checkpoint)] if checkpoint else hub.weight_files(folder, hub.OPEN_CLIP, remedy)
    return settings, {key: value for key, value in stated.items() if value is not None}, weights, folder


def _of_name(name: str, pretrained: str | None, checkpoint: Path | None, quick_gelu: bool | None) -> Found:
    configs = package_folder() / "model_configs"
    if not (configs / f"{name}.json").is_file():
        names = [path.stem for path in configs.glob("*.json")]
        raise UserError(f"open_clip has no model {name!r}, {did_you_mean(name, names)}")
    settings = json.loads((configs / f"{name}.json").read_text(encoding="utf-8"))
    tags = published().get(name, {})
    if pretrained is None:
        return settings, _preprocessing_of_all(name, tags), [existing(_needed(name, checkpoint, tags))], None
    tag = tags.get(pretrained.lower().replace("-", "_"))
    if tag is None:
        there = f"it has {', '.join(tags)}" if tags else "it has none"
        raise UserError(
            f"open_clip has no weights {pretrained!r} of {name}: {there}. A file of your own is named as `checkpoint`."
        )
    if quick_gelu is None and bool(tag.get("quick_gelu")) != bool(settings.get("quick_gelu")):
        trained = "QuickGELU" if tag.get("quick_gelu") else "GELU"
        raise UserError(
            f"The weights {pretrained} of {name} were trained with {trained}, which the settings of {name} do not "
            f"have: write `quick_gelu: {'true' if tag.get('quick_gelu') else 'false'}` in the encoder's YAML."
        )
    preprocessing = {key: tag[key] for key in PREPROCESSING}
    return settings, preprocessing, [existing(checkpoint)] if checkpoint else _published_weights(tag["hf_hub"]), None


def _needed(name: str, checkpoint: Path | None, tags: Mapping[str, Any]) -> Path:
    if checkpoint is None:
        there = f" (one of {', '.join(tags)})" if tags else ""
        raise UserError(f"{name} has no weights by itself: write `pretrained`{there} or `checkpoint` in the YAML.")
    return checkpoint


def _preprocessing_of_all(name: str, tags: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The preprocessing that all published weights of a name share; open_clip's own where none are published."""
    kinds = {tuple((key, tag[key]) for key in PREPROCESSING) for tag in tags.values()}
    if len(kinds) > 1:
        raise UserError(
            f"The published weights of {name} differ in their preprocessing: write the tag whose preprocessing the "
            f"checkpoint was trained with as `pretrained` ({', '.join(tags)})."
        )
    return dict(kinds.pop()) if kinds else {}


def _published_weights(address: str) -> list[Path]:
    """Of `OWNER/NAME/` or `OWNER/NAME/FILE` on the hub."""
    repository, _, file = address.rpartition("/")
    kinds = ((f"{Path(file).stem}.safetensors",), (file,)) if file else hub.OPEN_CLIP
    names = " or ".join(kind[0] for kind in kinds)
    remedy = fetch_or(
        repository,
        f"download {names} of https://huggingface.co/{repository} and name the file as `checkpoint` in the YAML",
    )
    return hub.weight_files(hub.local_folder(repository, (), remedy, kinds), kinds, remedy)


def _text_folder(text: Mapping[str, Any], folder: Path | None, text_model: str | None) -> Path | None:
    """Where the tokenizer of `transformers` is, and the settings of its text tower."""
    named = text.get("hf_model_name") or text.get("hf_tokenizer_name")
    if not named and "hf_tokenizer_name" not in text:
        if text_model is not None:
            raise UserError("The text tower of this model has open_clip's own tokenizer: leave `text_model` out.")
        return None
    own = folder is not None and (folder / "tokenizer_config.json").is_file() and "hf_model_name" not in text
    if text_model is None and own:
        return folder
    files = "the tokenizer's files" + (" and config.json" if "hf_model_name" in text else "")
    remedy = f"put {files} of {named} into a folder and name it as `text_model` in the encoder's YAML"
    return hub.local_folder(text_model or str(named), TEXT_FILES, fetch_or(text_model or str(named), remedy))


def package_folder() -> Path:
    """Where open_clip_torch is installed.

    Raises:
        UserError: it is not.
    """
    spec = importlib.util.find_spec("open_clip")
    if spec is None or not spec.origin:
        raise UserError(MISSING)
    return Path(spec.origin).parent


@lru_cache(maxsize=1)
def published() -> dict[str, dict[str, dict[str, Any]]]:
    """open_clip's table of published weights: name -> tag -> hub address, preprocessing, activation.

    Raises:
        UserError: this version of the package writes it in another way.
    """
    source = (package_folder() / "pretrained.py").read_text(encoding="utf-8")
    names: dict[str, Any] = {"copy": copy}
    exec((package_folder() / "constants.py").read_text(encoding="utf-8"), names)
    statements = [one for one in ast.parse(source).body if _makes_the_table(one)]
    try:
        exec(compile(ast.Module(statements, type_ignores=[]), "pretrained.py", "exec"), names)
        return dict(names["_PRETRAINED"])
    except Exception as error:
        raise UserError(
            f"The table of published weights of this open_clip_torch cannot be read ({error}): name the weights as "
            "`checkpoint`, or run `uv sync --extra open-clip`, which installs a version that can."
        ) from error


def _makes_the_table(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.FunctionDef):
        return re.fullmatch(r"_\w*cfg", statement.name) is not None
    return isinstance(statement, ast.Assign | ast.For | ast.Expr)
