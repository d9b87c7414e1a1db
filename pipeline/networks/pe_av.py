"""PE-AV by `transformers`: one of its towers, filled strictly from a checkpoint of the whole model.

Vyas et al., "Pushing the Frontier of Audiovisual Perception with Large-Scale Multimodal Correspondence Learning",
2025 (arXiv 2512.19687). A tower is an encoder and the contrastive head of its modality; rows are not normalised.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel
from transformers.initialization import no_init_weights

from pipeline.checkpoints.weights import CheckpointError, check_fit, check_numbers, first_line, read_files

with redirect_stdout(StringIO()):  # transformers prints a complaint about its own docstrings
    from transformers import (
        PeAudioEncoder,
        PeAudioVideoConfig,
        PeAudioVideoModel,
        PeAudioVideoProcessor,
        PeVideoEncoder,
    )
    from transformers.models.pe_audio_video.modeling_pe_audio_video import (
        PeAudioVideoContrastiveHead,
        PeAudioVideoEncoder,
    )

ARCHITECTURE = "PeAudioVideoModel as in config.json"
TIED = {
    "audio_video_encoder.embedder.audio_encoder.": "audio_model.audio_encoder.",
    "audio_video_encoder.embedder.video_encoder.": "video_model.video_encoder.",
    "audio_model.text_model.": "text_model.",
    "video_model.text_model.": "text_model.",
}
"""Names that stand for weights of another name, which files may hold once or twice."""

HEADS = {
    "audio": "audio_model.audio_head.",
    "video": "video_model.video_head.",
    "audio+video": "audio_video_head.",
    "text-audio": "audio_model.text_audio_head.",
    "text-video": "video_model.text_video_head.",
    "text-audio+video": "text_audio_video_head.",
}
"""Tower -> where its head's weights are in a checkpoint."""

ENCODERS = {
    "audio": "audio_model.audio_encoder.",
    "video": "video_model.video_encoder.",
    "audio+video": "audio_video_encoder.",
}
"""Tower -> where its encoder's weights are; of towers of texts `text_model.`"""

Pooling = Literal["before-norm", "after-norm"]


class Network(nn.Module):
    """An encoder and its head.

    Args:
        tower: a key of `HEADS`.
        config: of the whole model.
        pooling: of towers of texts, whether a text's row is taken before ModernBERT's last norm.
    """

    def __init__(self, tower: str, config: PeAudioVideoConfig, pooling: Pooling) -> None:
        super().__init__()
        both, width = config.audio_video_config, config.text_config.hidden_size
        if tower == "audio":
            self.encoder, size = PeAudioEncoder(both.audio_config), both.audio_config.hidden_size
        elif tower == "video":
            self.encoder, size = PeVideoEncoder(both.video_config), both.video_config.hidden_size
        elif tower == "audio+video":
            self.encoder, size = PeAudioVideoEncoder(both), both.hidden_size
        else:
            self.encoder, size = AutoModel.from_config(config.text_config), width
        self.head = PeAudioVideoContrastiveHead(size, width)
        self.is_text, self.pooling = tower.startswith("text"), pooling

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Rows (n, dim) of the encoder's inputs."""
        if not self.is_text:
            return self.head(self.encoder(**inputs).pooler_output)
        first = self.encoder(**inputs).last_hidden_state[:, 0]
        return self.head(first)


def read_config(folder: Path) -> PeAudioVideoConfig:
    """What `config.json` describes.

    Raises:
        CheckpointError: it describes another model.
    """
    path = folder / "config.json"
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # damaged settings raise anything
        raise CheckpointError(f"{path} describes no model of this family: {first_line(error)}") from error
    if not isinstance(config, PeAudioVideoConfig):
        raise CheckpointError(f"{path} describes a model of type {config.model_type!r}, not pe_audio_video")
    return config


def load(folder: Path, weights: Iterable[Path], tower: str, pooling: Pooling) -> Network:
    """Builds one tower and fills it; all keys of the file have to fit the whole model.

    Args:
        folder: holds `config.json`.
        weights: the files that together hold the weights.
        tower: a key of `HEADS`.
        pooling: as of `Network`.

    Raises:
        CheckpointError: a file cannot be used, or a key is missing, unexpected or of another shape, or holds NaN.
    """
    config, files = read_config(folder), list(weights)
    state = untied(read_files(files), files[0])
    try:
        with torch.device("meta"), no_init_weights():
            whole = PeAudioVideoModel(config)
        with no_init_weights():
            network = Network(tower, config, pooling).float()
    except Exception as error:  # such as a vision tower that timm does not know
        raise CheckpointError(
            f"{folder / 'config.json'} describes no model of this family: {first_line(error)}"
        ) from error
    check_fit(untied(whole.state_dict(), files[0]), state, files[0], ARCHITECTURE)
    wanted = network.state_dict()
    origin = {"head.": HEADS[tower], "encoder.": ENCODERS.get(tower, "text_model.")}
    taken = {name: state[_source(name, origin)] for name in wanted}
    check_numbers(taken, files[0])
    network.load_state_dict(taken)
    if network.is_text and pooling == "before-norm":
        network.encoder.final_norm = nn.Identity()
    return network.eval().requires_grad_(False)


def untied(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Weights by one name each.

    Raises:
        CheckpointError: two names of one weight have different values.
    """
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        known = _own_name(name)
        other = found.setdefault(known, value)
        if other is not value and value.device.type != "meta" and not torch.equal(other, value):
            raise CheckpointError(f"{path} holds two values of {known}, which the model shares")
    return found


def _own_name(name: str) -> str:
    for prefix, own in TIED.items():
        if name.startswith(prefix):
            return own + name.removeprefix(prefix)
    return name


def _source(name: str, origin: Mapping[str, str]) -> str:
    prefix = next(prefix for prefix in origin if name.startswith(prefix))
    return _own_name(origin[prefix] + name.removeprefix(prefix))


def load_processor(folder: Path) -> Any:
    """The processor of a folder: of audio, of frames, and the tokenizer.

    Raises:
        CheckpointError: the folder has none.
    """
    try:
        return PeAudioVideoProcessor.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # missing and damaged settings raise anything
        raise CheckpointError(
            f"{folder} has no usable processor_config.json or tokenizer: {first_line(error)}"
        ) from error
