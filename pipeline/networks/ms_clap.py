"""Microsoft's CLAPs of 2023 and 2022 from their published checkpoints `CLAP_weights_2023.pth` and `_2022.pth`.

2023 (https://arxiv.org/abs/2309.05767): HTS-AT, and GPT-2's last token; 2022 (https://arxiv.org/abs/2206.04769): Cnn14,
and BERT's first token. Projections follow both. The package `msclap` computes rows of any
length and compares them by their cosine; here they have unit length.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertConfig, BertModel, GPT2Config, GPT2Model
from transformers.initialization import no_init_weights

from pipeline.checkpoints.weights import CheckpointError, check_fit, check_numbers, drop_position_ids, read_state_dict
from pipeline.networks import cnn14
from pipeline.networks.htsat import Htsat, HtsatShape, published_layout, without_memory
from pipeline.networks.log_mel import LogMel, is_windowed_fourier
from pipeline.networks.swin import BINS

Release = Literal["2023", "2022"]
HTSAT = HtsatShape(dim=96, depths=(2, 2, 6, 2), heads=(4, 8, 16, 32))
DIM, WINDOW_SAMPLES, HOP, TEXT_WIDTH = 1024, 1024, 320, 768
AUDIO = {"2023": "audio_encoder.base.htsat.", "2022": "audio_encoder.base."}
AUDIO_WIDTH = {"2023": HTSAT.features, "2022": cnn14.FEATURES}
TEXT, AUDIO_HEAD, TEXT_HEAD = "caption_encoder.base.", "audio_encoder.projection.", "caption_encoder.projection."
KERNELS = tuple(f"spectrogram_extractor.stft.conv_{part}.weight" for part in ("real", "imag"))
FILTERS = "logmel_extractor.melW"
CAUSAL_MASKS = (".attn.bias", ".attn.masked_bias")
"""Constants of GPT-2 that transformers saved when the file was written, and no longer does."""
NAMES = {"2023": "Microsoft's CLAP of 2023 (HTSAT, GPT-2)", "2022": "Microsoft's CLAP of 2022 (Cnn14, BERT)"}


def text_network(release: Release) -> Any:
    """`gpt2`, the small one, or `bert-base-uncased`, without weights."""
    return GPT2Model(GPT2Config(use_cache=False)) if release == "2023" else BertModel(BertConfig())


def layout(release: Release) -> dict[str, Tensor]:
    """Every key of a checkpoint, with tensors that have a shape but no memory."""
    audio: dict[str, tuple[int, ...]] = {FILTERS: (WINDOW_SAMPLES // 2 + 1, BINS)}
    audio |= dict.fromkeys(KERNELS, (WINDOW_SAMPLES // 2 + 1, 1, WINDOW_SAMPLES))
    with torch.device("meta"):
        if release == "2023":
            audio |= dict(published_layout(HTSAT))
        else:
            scores = nn.Linear(cnn14.FEATURES, cnn14.CLASSES).state_dict()
            audio |= {f"fc_audioset.{name}": tuple(value.shape) for name, value in scores.items()}
            audio |= {name: tuple(value.shape) for name, value in cnn14.Cnn14().state_dict().items()}
        parts = {
            TEXT: text_network(release),
            AUDIO_HEAD: Projection(AUDIO_WIDTH[release]),
            TEXT_HEAD: Projection(TEXT_WIDTH),
        }
    shapes = {"logit_scale": (), **{f"{AUDIO[release]}{name}": shape for name, shape in audio.items()}}
    for prefix, part in parts.items():
        shapes |= {f"{prefix}{name}": tuple(value.shape) for name, value in part.state_dict().items()}
    return without_memory(shapes)


def read_checkpoint(path: Path, release: Release) -> dict[str, Tensor]:
    """Reads a published file `{'model': ...}` and checks every key, shape and constant of it.

    Raises:
        CheckpointError: the file cannot be used, or is of another architecture.
    """
    weights = read_state_dict(path, wrappers=("model", "state_dict"))
    weights = {k: v for k, v in weights.items() if not (k.startswith(TEXT) and k.endswith(CAUSAL_MASKS))}
    drop_position_ids(weights, path)
    check_fit(layout(release), weights, path, NAMES[release])
    check_numbers(weights, path)
    kernels = [f"{AUDIO[release]}{name}" for name in KERNELS]
    if not is_windowed_fourier(*(weights[name] for name in kernels)):
        raise CheckpointError(f"{path}: {' and '.join(kernels)} are not those of a Hann window, as msclap uses")
    return weights


class Projection(nn.Module):
    """A residual head: a linear layer, a second one after GELU added to it, layer norm.

    Args:
        width: features of its input.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(width, DIM, bias=False)
        self.linear2 = nn.Linear(DIM, DIM, bias=False)
        self.layer_norm = nn.LayerNorm(DIM)

    def forward(self, x: Tensor) -> Tensor:
        """(items, width) to (items, 1024)."""
        x = self.linear1(x)
        return self.layer_norm(x + self.linear2(functional.gelu(x)))


class AudioNetwork(nn.Module):
    """Samples to rows of unit length.

    Args:
        weights: from `read_checkpoint`.
        release: whose they are.
    """

    def __init__(self, weights: Mapping[str, Tensor], release: Release) -> None:
        super().__init__()
        audio = _part(weights, AUDIO[release])
        self.log_mel = LogMel(audio[FILTERS], HOP)
        self.branch = Htsat(HTSAT, audio) if release == "2023" else cnn14.Cnn14.of(audio)
        self.head = _head(weights, AUDIO_HEAD, AUDIO_WIDTH[release])

    def forward(self, waveforms: Tensor) -> Tensor:
        """(clips, samples) at 44.1 kHz, up to 7 s for HTS-AT, to (clips, 1024)."""
        mels = self.log_mel(waveforms)
        views = (torch.arange(len(waveforms))[:, None],) if isinstance(self.branch, Htsat) else ()
        return functional.normalize(self.head(self.branch(mels, *views)).float(), dim=-1)


class TextNetwork(nn.Module):
    """Token ids to rows of unit length.

    Args:
        weights: from `read_checkpoint`.
        release: whose they are.
    """

    def __init__(self, weights: Mapping[str, Tensor], release: Release) -> None:
        super().__init__()
        with no_init_weights():
            self.branch = text_network(release)
        self.branch.load_state_dict(_part(weights, TEXT))
        self.head = _head(weights, TEXT_HEAD, TEXT_WIDTH)
        self._takes_last = release == "2023"

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids padded at the end (captions, tokens) and their mask to (captions, 1024)."""
        hidden = self.branch(input_ids=ids, attention_mask=mask).last_hidden_state
        at = mask.sum(1) - 1 if self._takes_last else torch.zeros_like(ids[:, 0])
        state = hidden[torch.arange(len(ids), device=ids.device), at]
        return functional.normalize(self.head(state).float(), dim=-1)


def _head(weights: Mapping[str, Tensor], prefix: str, width: int) -> Projection:
    with no_init_weights():
        head = Projection(width)
    head.load_state_dict(_part(weights, prefix))
    return head


def _part(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
