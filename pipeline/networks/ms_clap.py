"""Microsoft's CLAP of 2023 (https://arxiv.org/abs/2309.05767) from its published checkpoint `CLAP_weights_2023.pth`.

Audio: log-mel, HTS-AT, a projection; text: GPT-2's last token, a projection. The package `msclap` computes rows of any
length and compares them by their cosine; here they have unit length.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import GPT2Config, GPT2Model
from transformers.initialization import no_init_weights

from pipeline.checkpoints.weights import CheckpointError, check_fit, check_numbers, read_state_dict
from pipeline.networks.htsat import Htsat, HtsatShape, published_layout, without_memory
from pipeline.networks.log_mel import LogMel, is_windowed_fourier
from pipeline.networks.swin import BINS

HTSAT = HtsatShape(dim=96, depths=(2, 2, 6, 2), heads=(4, 8, 16, 32))
DIM, WINDOW_SAMPLES, HOP = 1024, 1024, 320
AUDIO, TEXT = "audio_encoder.base.htsat.", "caption_encoder.base."
AUDIO_HEAD, TEXT_HEAD = "audio_encoder.projection.", "caption_encoder.projection."
KERNELS = tuple(f"{AUDIO}spectrogram_extractor.stft.conv_{part}.weight" for part in ("real", "imag"))
FILTERS = f"{AUDIO}logmel_extractor.melW"
CAUSAL_MASKS = (".attn.bias", ".attn.masked_bias")
"""Constants of GPT-2 that transformers saved when the file was written, and no longer does."""


def gpt2() -> GPT2Model:
    """`gpt2`, the small one: 12 layers of 768."""
    return GPT2Model(GPT2Config(use_cache=False))


def layout() -> dict[str, Tensor]:
    """Every key of a checkpoint, with tensors that have a shape but no memory."""
    shapes: dict[str, tuple[int, ...]] = {"logit_scale": (), FILTERS: (WINDOW_SAMPLES // 2 + 1, BINS)}
    shapes |= dict.fromkeys(KERNELS, (WINDOW_SAMPLES // 2 + 1, 1, WINDOW_SAMPLES))
    shapes |= {f"{AUDIO}{name}": shape for name, shape in published_layout(HTSAT)}
    with torch.device("meta"):
        shapes |= {f"{TEXT}{name}": tuple(value.shape) for name, value in gpt2().state_dict().items()}
        for head, width in ((AUDIO_HEAD, HTSAT.features), (TEXT_HEAD, gpt2().config.n_embd)):
            shapes |= {f"{head}{name}": tuple(value.shape) for name, value in Projection(width).state_dict().items()}
    return without_memory(shapes)


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Reads the published file `{'model': ...}` and checks every key, shape and constant of it.

    Raises:
        CheckpointError: the file cannot be used, or is of another architecture.
    """
    weights = read_state_dict(path, wrappers=("model", "state_dict"))
    weights = {k: v for k, v in weights.items() if not (k.startswith(TEXT) and k.endswith(CAUSAL_MASKS))}
    check_fit(layout(), weights, path, "Microsoft's CLAP of 2023 (HTSAT, GPT-2)")
    check_numbers(weights, path)
    if not is_windowed_fourier(*(weights[name] for name in KERNELS)):
        raise CheckpointError(f"{path}: {' and '.join(KERNELS)} are not those of a Hann window, as msclap uses")
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
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.log_mel = LogMel(weights[FILTERS], HOP)
        self.htsat = Htsat(HTSAT, _part(weights, AUDIO))
        self.head = _head(weights, AUDIO_HEAD, HTSAT.features)

    def forward(self, waveforms: Tensor) -> Tensor:
        """(clips, samples), 7 s at 44.1 kHz, to (clips, 1024)."""
        views = torch.arange(len(waveforms))[:, None]
        return functional.normalize(self.head(self.htsat(self.log_mel(waveforms), views)).float(), dim=-1)


class TextNetwork(nn.Module):
    """Token ids to rows of unit length.

    Args:
        weights: from `read_checkpoint`.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        with no_init_weights():
            self.gpt2 = gpt2()
        self.gpt2.load_state_dict(_part(weights, TEXT))
        self.head = _head(weights, TEXT_HEAD, self.gpt2.config.n_embd)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids padded at the end (captions, tokens) and their mask to (captions, 1024): each caption's last token."""
        hidden = self.gpt2(input_ids=ids, attention_mask=mask).last_hidden_state
        last = hidden[torch.arange(len(ids), device=ids.device), mask.sum(1) - 1]
        return functional.normalize(self.head(last).float(), dim=-1)


def _head(weights: Mapping[str, Tensor], prefix: str, width: int) -> Projection:
    with no_init_weights():
        head = Projection(width)
    head.load_state_dict(_part(weights, prefix))
    return head


def _part(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
