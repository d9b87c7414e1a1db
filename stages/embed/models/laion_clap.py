"""The networks of the `laion_clap` package, built and filled without the Hugging Face hub.

`import laion_clap` and its constructor fetch three tokenizers and `roberta-base`, only to throw the fetched
weights away when the checkpoint is loaded. Here just its `clap_module` package, which holds the networks and
fetches nothing when imported, is loaded; and the text branch is made from a configuration.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from transformers import RobertaConfig, RobertaModel
from transformers.initialization import no_init_weights

from pipeline.checkpoints.weights import CheckpointError, drop_position_ids, load_strictly, read_state_dict
from stages.embed.models.clap_audio import MelScale
from stages.embed.models.clap_networks import AudioNetwork, TextNetwork
from stages.embed.models.htsat import Htsat, HtsatShape

ROBERTA_BASE: dict[str, Any] = {
    "vocab_size": 50265,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
}
"""How hub id `roberta-base` differs from the defaults of `RobertaConfig`."""

SCALE = ("sample_rate", "window_size", "hop_size", "mel_bins", "fmin", "fmax")
"""What the package's `audio_cfg` says of `MelScale`, under the same names."""

_IMPORTING, _PATCHING = threading.Lock(), threading.Lock()


def load_audio(checkpoint: Path, amodel: str, fusion: bool, text_folder: Path | None) -> AudioNetwork:
    """Builds the package's CLAP, fills it from a checkpoint, all of whose keys have to fit, and keeps its audio half.

    Args:
        checkpoint: a published file, `{'epoch', 'state_dict': {'module.…'}}`, or a bare state dict.
        amodel: an HTSAT of the package, such as `HTSAT-tiny`.
        fusion: the checkpoint has the fusion layers of type `aff_2d`.
        text_folder: holds `config.json` of the text branch; that of `roberta-base` if None.

    Raises:
        CheckpointError: the file cannot be used, or is of another architecture.
    """
    model = _load(checkpoint, amodel, fusion, text_config(text_folder), unwanted="text_branch")
    branch = model.audio_branch
    scale = MelScale(**{name: getattr(model.audio_cfg, name) for name in SCALE}, slaney=not fusion)
    if not fusion and not torch.allclose(branch.logmel_extractor.melW, scale.filters(), rtol=0, atol=1e-5):
        raise CheckpointError(f"{checkpoint} was trained on another mel scale than that of {amodel}: {scale}")
    shape = HtsatShape(branch.embed_dim, tuple(branch.depths), tuple(branch.num_heads), fusion)
    htsat = Htsat(shape, branch.state_dict())
    return AudioNetwork(htsat, model.audio_projection, scale, int(model.audio_cfg.clip_samples))


def load_text(checkpoint: Path, amodel: str, fusion: bool, config: RobertaConfig) -> TextNetwork:
    """The same for the text half.

    Args:
        checkpoint: as for `load_audio`.
        amodel: as for `load_audio`.
        fusion: as for `load_audio`.
        config: of the text branch, from `text_config`.
    """
    model = _load(checkpoint, amodel, fusion, config, unwanted="audio_branch")
    return TextNetwork(model.text_branch, model.text_projection)


def _load(checkpoint: Path, amodel: str, fusion: bool, config: RobertaConfig, *, unwanted: str) -> Any:
    weights = read_state_dict(checkpoint)
    drop_position_ids(weights, checkpoint)
    model = build(amodel, fusion, config, text_is_wanted=unwanted != "text_branch")
    architecture = f"LAION-CLAP {amodel} {'with' if fusion else 'without'} fusion"
    load_strictly(model, weights, checkpoint, architecture, skip=lambda key: key.startswith(f"{unwanted}."))
    return model.eval().requires_grad_(False)


def build(amodel: str, fusion: bool, config: RobertaConfig, *, text_is_wanted: bool) -> Any:
    """The package's `CLAP`, its weights not initialised, its text branch without memory unless it is wanted.

    Raises:
        CheckpointError: the package has no such model.
    """
    package = clap_module()
    folder = Path(str(package.__file__)).parent / "model_configs"
    names = sorted(path.stem for path in folder.glob("HTSAT-*.json"))
    if amodel not in names:
        raise CheckpointError(f"laion_clap has no HTSAT named {amodel!r}; it has {', '.join(names)}")
    settings = json.loads((folder / f"{amodel}.json").read_text(encoding="utf-8"))
    settings["text_cfg"]["model_type"] = "roberta"
    fusion_type = "aff_2d" if fusion else "None"
    with _text_branch(config, text_is_wanted), no_init_weights(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return package.CLAP(**settings, enable_fusion=fusion, fusion_type=fusion_type)


def text_config(folder: Path | None, layer_norm_eps: float | None = None) -> RobertaConfig:
    """Configuration of the text branch from a folder's `config.json`, or that of `roberta-base`.

    Args:
        folder: holds `config.json`.
        layer_norm_eps: replaces that of the file.

    Raises:
        CheckpointError: the folder has none, or not one of RoBERTa.
    """
    changes = {} if layer_norm_eps is None else {"layer_norm_eps": layer_norm_eps}
    if folder is None:
        return RobertaConfig(**{**ROBERTA_BASE, **changes})
    file = folder / "config.json"
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
        kind = settings.get("model_type", "roberta")
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{file}, which describes the text branch, cannot be read: {error}") from error
    if kind != "roberta":
        raise CheckpointError(f"{file} describes a model of type {kind!r}: the text branch is a RoBERTa")
    return RobertaConfig.from_pretrained(folder, local_files_only=True, **changes)


def clap_module() -> ModuleType:
    """The package's `clap_module`, under the name by which the package itself imports it.

    `laion_clap/__init__.py` is not run: it imports `training/data.py`, which asks the hub.
    """
    with _IMPORTING:
        if "clap_module" in sys.modules:
            return sys.modules["clap_module"]
        package = importlib.util.find_spec("laion_clap")
        if package is None or not package.submodule_search_locations:
            raise CheckpointError("the package laion-clap is not installed: run `uv sync`")
        folder = Path(package.submodule_search_locations[0]) / "clap_module"
        spec = importlib.util.spec_from_file_location(
            "clap_module", folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["clap_module"] = module
        numba_cache = os.environ.get("NUMBA_CACHE_DIR")  # pann_model.py sets it to /tmp/
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                spec.loader.exec_module(module)
        except BaseException:
            del sys.modules["clap_module"]
            raise
        finally:
            if numba_cache is None:
                os.environ.pop("NUMBA_CACHE_DIR", None)
            else:
                os.environ["NUMBA_CACHE_DIR"] = numba_cache
        return module


@contextmanager
def _text_branch(config: RobertaConfig, is_wanted: bool) -> Iterator[None]:
    """Has `CLAP.__init__` make its text branch from a configuration instead of the hub."""

    def from_pretrained(_: str) -> RobertaModel:
        with torch.device("cpu" if is_wanted else "meta"):
            return RobertaModel(config)

    networks: Any = importlib.import_module("clap_module.model")
    with _PATCHING:
        networks.RobertaModel = SimpleNamespace(from_pretrained=from_pretrained)
        try:
            yield
        finally:
            networks.RobertaModel = RobertaModel
