"""The networks of the `laion_clap` package, built and filled without the Hugging Face hub: the reference path.

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
from torch import Tensor, nn
from torch.nn import functional
from transformers import RobertaConfig, RobertaModel
from transformers.initialization import no_init_weights

from pipeline.checkpoints.weights import CheckpointError, drop_position_ids, load_strictly, read_state_dict
from pipeline.networks import clap
from pipeline.networks.laion_clap import CLIP_SAMPLES, mel_scale, text_config

_IMPORTING, _PATCHING = threading.Lock(), threading.Lock()


class AudioNetwork(clap.AudioNetwork):
    """The package's audio network, called as ours is.

    Args:
        model: the package's `CLAP`.
        scale: the spectrograms that it was trained on.
    """

    def __init__(self, model: Any, scale: clap.MelScale) -> None:
        nn.Module.__init__(self)
        self.branch, self.projection = model.audio_branch, model.audio_projection
        self.scale, self.length = scale, CLIP_SAMPLES
        if not self.fusion:  # spectrograms come from `views`
            self.branch.spectrogram_extractor = self.branch.logmel_extractor = nn.Identity()

    @property
    def fusion(self) -> bool:
        """Whether chunks of longer clips are used as well."""
        return bool(self.branch.enable_fusion)

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.branch.bn0.weight.device

    def forward(self, mels: Tensor, views: Tensor, fused: Tensor | None) -> Tensor:
        """(clips, dim) rows; the arguments are those of `Htsat`."""
        if fused is None:
            given = {"waveform": mels[views[:, 0]][:, None]}
        else:
            given = {"mel_fusion": mels[views], "longer": fused}
        features = self.branch(given, device=self.device)["embedding"]
        return functional.normalize(self.projection(features), dim=-1)


def load_audio(checkpoint: Path, amodel: str, fusion: bool, text_folder: Path | None) -> AudioNetwork:
    """As `laion_clap.load_audio`, through the package's network."""
    model = load(checkpoint, amodel, fusion, text_config(text_folder), unused="text_branch")
    return AudioNetwork(model, mel_scale(amodel, fusion))


def load_text(checkpoint: Path, amodel: str, fusion: bool, config: RobertaConfig) -> clap.TextNetwork:
    """As `laion_clap.load_text`; the text branch is the same RoBERTa of `transformers`."""
    model = load(checkpoint, amodel, fusion, config, unused="audio_branch")
    return clap.TextNetwork(model.text_branch, model.text_projection)


def load(checkpoint: Path, amodel: str, fusion: bool, config: RobertaConfig, *, unused: str | None = None) -> Any:
    """The package's `CLAP`, filled from a checkpoint, all of whose keys have to fit.

    Args:
        checkpoint: a published file.
        amodel: an HTSAT of the package.
        fusion: the checkpoint has the fusion layers of type `aff_2d`.
        config: of the text branch.
        unused: a branch that is checked against the file but not filled.

    Raises:
        CheckpointError: the file cannot be used, or is of another architecture.
    """
    weights = read_state_dict(checkpoint)
    drop_position_ids(weights, checkpoint)
    model = build(amodel, fusion, config, text_is_wanted=unused != "text_branch")
    architecture = f"LAION-CLAP {amodel} {'with' if fusion else 'without'} fusion"
    load_strictly(model, weights, checkpoint, architecture, skip=lambda key: key.startswith(f"{unused}."))
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
