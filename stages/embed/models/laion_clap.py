"""The networks of the `laion_clap` package, built and filled without the Hugging Face hub.

`import laion_clap` and its constructor fetch three tokenizers and `roberta-base`, only to throw the
fetched weights away when the checkpoint is loaded. Here just its `clap_module` package, which holds the
networks and fetches nothing when imported, is loaded; and the text branch is made from a configuration.
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
from typing import Any, Literal, cast

import torch
from torch import Tensor
from transformers import RobertaConfig, RobertaModel, RobertaTokenizer
from transformers.initialization import no_init_weights

from stages.embed.models.checkpoint import CheckpointError, load_strictly, read_state_dict
from stages.embed.models.clap_audio import MelScale, Views

ROBERTA_BASE: dict[str, Any] = {
    "vocab_size": 50265,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
}
"""How hub id `roberta-base` differs from the defaults of `RobertaConfig`."""

POSITION_IDS = "text_branch.embeddings.position_ids"
"""In published files, a constant (0, 1, 2, ...) that current transformers no longer saves."""

WHERE = (
    "Published checkpoints are at https://huggingface.co/lukewys/laion_clap (the reference uses"
    " 630k-audioset-fusion-best.pt); name yours as `checkpoint` in the encoder's YAML"
)

_LOCK = threading.Lock()


def load(checkpoint: Path, amodel: str, fusion: bool, text_folder: Path | None, tower: Literal["audio", "text"]) -> Any:
    """Builds one tower of CLAP and fills it from a checkpoint, all of whose keys have to fit.

    Args:
        checkpoint: a published file, `{'epoch', 'state_dict': {'module.…'}}` or a bare state dict.
        amodel: a model name of the package, such as `HTSAT-tiny`.
        fusion: the checkpoint has the fusion layers of `aff_2d`.
        text_folder: holds `config.json` of the text branch; the one of `roberta-base` if None.
        tower: `audio` or `text`, the half that is wanted; the other holds no memory.

    Raises:
        CheckpointError: the file cannot be used, or is of another architecture.
    """
    weights = read_state_dict(checkpoint, hint=WHERE)
    _drop_position_ids(weights, checkpoint)
    model = _build(amodel, fusion, _text_config(text_folder), text_is_wanted=tower == "text")
    fuses = "with" if fusion else "without"
    unwanted = "text_branch." if tower == "audio" else "audio_branch."
    load_strictly(
        model,
        weights,
        checkpoint,
        f"LAION-CLAP {amodel} {fuses} fusion",
        skip=lambda key: key.startswith(unwanted),
    )
    setattr(model, unwanted.rstrip("."), None)
    return model.eval().requires_grad_(False)


def mel_scale(model: Any) -> MelScale:
    """The spectrogram that a model was made for."""
    audio = model.audio_cfg
    return MelScale(
        sample_rate=audio.sample_rate,
        window_size=audio.window_size,
        hop_size=audio.hop_size,
        mel_bins=audio.mel_bins,
        fmin=audio.fmin,
        fmax=audio.fmax,
    )


@torch.inference_mode()
def embed_views(model: Any, views: list[Views], fuse_short: bool) -> Tensor:
    """Embeddings (clips, 512) of a model with fusion; a row does not depend on its neighbours.

    In evaluation the package's network fuses exactly the clips flagged longer. (In the original
    repository a batch without a longer clip has one flagged at random.)
    """
    device = next(model.parameters()).device
    items = [
        {
            "mel_fusion": clip.mel.to(device).expand(4, -1, -1),
            "longer": torch.tensor([clip.longer or fuse_short]),
        }
        for clip in views
    ]
    return cast(Tensor, model.get_audio_embedding(items))


@torch.inference_mode()
def embed_waveforms(model: Any, waveforms: list[Tensor]) -> Tensor:
    """Embeddings (clips, 512) of a model without fusion."""
    return cast(Tensor, model.get_audio_embedding([{"waveform": waveform} for waveform in waveforms]))


@torch.inference_mode()
def embed_tokens(model: Any, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """Embeddings (captions, 512) of padded token ids."""
    return cast(Tensor, model.get_text_embedding({"input_ids": input_ids, "attention_mask": attention_mask}))


def load_tokenizer(text_model: str) -> Any:
    """The tokenizer of a local folder, or of a hub id through the Hugging Face cache.

    Raises:
        CheckpointError: there is neither such a folder nor such files in the cache or on the hub.
    """
    local = Path(text_model).is_dir()
    try:
        return RobertaTokenizer.from_pretrained(text_model, local_files_only=local)
    except (OSError, ValueError, TypeError) as error:
        if local:
            raise CheckpointError(
                f"{text_model} has no usable RoBERTa tokenizer (vocab.json and merges.txt): {error}"
            ) from error
        raise CheckpointError(
            f"the tokenizer {text_model!r} is neither a local folder, nor in the Hugging Face cache, nor"
            f" to be had from the hub now: put vocab.json, merges.txt and config.json of"
            f" https://huggingface.co/FacebookAI/roberta-base into a folder and name it as `text_model`"
            " in the encoder's YAML"
        ) from error


def clap_module() -> ModuleType:
    """The package's `clap_module`, under the name the package itself imports it by.

    `laion_clap/__init__.py` is not run: it imports `training/data.py`, which asks the hub.
    """
    with _LOCK:
        if "clap_module" in sys.modules:
            return sys.modules["clap_module"]
        package = importlib.util.find_spec("laion_clap")
        if package is None or not package.submodule_search_locations:
            raise ModuleNotFoundError("the package laion-clap is not installed: run `uv sync`")
        folder = Path(package.submodule_search_locations[0]) / "clap_module"
        spec = importlib.util.spec_from_file_location(
            "clap_module", folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["clap_module"] = module
        numba_cache = os.environ.get("NUMBA_CACHE_DIR")  # pann_model.py overwrites it
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


def _build(amodel: str, fusion: bool, config: RobertaConfig, text_is_wanted: bool) -> Any:
    package = clap_module()
    folder = Path(str(package.__file__)).parent / "model_configs"
    file = folder / f"{amodel}.json"
    if not file.is_file():
        names = sorted(path.stem for path in folder.glob("*.json"))
        heard = ", ".join(name for name in names if name.startswith(("HTSAT", "PANN")))
        raise CheckpointError(f"laion_clap has no audio model {amodel!r}; it has {heard}")
    settings = json.loads(file.read_text(encoding="utf-8"))
    settings["text_cfg"]["model_type"] = "roberta"
    fusion_type = "aff_2d" if fusion else "None"
    with _text_branch(config, text_is_wanted), warnings.catch_warnings(), no_init_weights():
        warnings.simplefilter("ignore")
        return package.CLAP(**settings, enable_fusion=fusion, fusion_type=fusion_type)


@contextmanager
def _text_branch(config: RobertaConfig, is_wanted: bool) -> Iterator[None]:
    """Has `CLAP.__init__` make its text branch from a configuration instead of the hub."""

    def from_pretrained(_: str) -> RobertaModel:
        with torch.device("cpu" if is_wanted else "meta"):
            return RobertaModel(config)

    networks: Any = importlib.import_module("clap_module.model")
    with _LOCK:
        networks.RobertaModel = SimpleNamespace(from_pretrained=from_pretrained)
        try:
            yield
        finally:
            networks.RobertaModel = RobertaModel


def _text_config(folder: Path | None) -> RobertaConfig:
    if folder is None:
        return RobertaConfig(**ROBERTA_BASE)
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder} has no config.json, which describes the text branch")
    return RobertaConfig.from_pretrained(folder, local_files_only=True)


def _drop_position_ids(weights: dict[str, Tensor], path: Path) -> None:
    ids = weights.pop(POSITION_IDS, None)
    if ids is not None and not torch.equal(ids.flatten(), torch.arange(ids.numel())):
        raise CheckpointError(f"{path}: {POSITION_IDS} are not 0, 1, 2, ... as the text branch counts")
