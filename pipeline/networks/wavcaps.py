"""WavCaps' retrieval model (https://arxiv.org/abs/2303.17395) from its published checkpoints ("ASE").

Audio: log-mel, HTS-AT, a head of two layers; text: BERT's first token, a head of two layers; unit length both.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertConfig, BertModel
from transformers.initialization import no_init_weights

from pipeline.checkpoints.weights import CheckpointError, check_fit, check_numbers, drop_position_ids, read_state_dict
from pipeline.networks.htsat import Htsat, HtsatShape, projection_layout, published_layout, without_memory
from pipeline.networks.log_mel import LogMel, is_windowed_fourier
from pipeline.networks.swin import BINS

HTSAT = HtsatShape(dim=96, depths=(2, 2, 6, 2), heads=(4, 8, 16, 32))
DIM, WINDOW_SAMPLES = 1024, 1024
AUDIO, TEXT = "audio_encoder.audio_enc.", "text_encoder.text_encoder."
KERNELS = tuple(f"{AUDIO}audio_feats_extractor.mel_trans.stft.conv_{part}.weight" for part in ("real", "imag"))
FILTERS = f"{AUDIO}audio_feats_extractor.log_trans.melW"
EXTRACTOR = (*KERNELS, FILTERS)


def layout() -> dict[str, Tensor]:
    """Every key of a checkpoint, with tensors that have a shape but no memory.

    Files written with older transformers hold BERT's `embeddings.position_ids` besides, a constant.
    """
    shapes: dict[str, tuple[int, ...]] = {"temp": (), FILTERS: (WINDOW_SAMPLES // 2 + 1, BINS)}
    shapes |= dict.fromkeys(KERNELS, (WINDOW_SAMPLES // 2 + 1, 1, WINDOW_SAMPLES))
    shapes |= {f"{AUDIO}{name}": shape for name, shape in published_layout(HTSAT)}
    with torch.device("meta"):
        shapes |= {f"{TEXT}{name}": tuple(value.shape) for name, value in bert().state_dict().items()}
    for head in ("audio_proj", "text_proj"):
        shapes |= dict(projection_layout(head, HTSAT.features, DIM))
    return without_memory(shapes)


def bert() -> BertModel:
    """`bert-base-uncased` without its pooler, which WavCaps does without."""
    return BertModel(BertConfig(), add_pooling_layer=False)


HOP = 320


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Reads a published file `{'model': ...}` and checks every key, shape and constant of it.

    Raises:
        CheckpointError: the file cannot be used, or is of another architecture.
    """
    weights = read_state_dict(path, wrappers=("model", "state_dict"))
    drop_position_ids(weights, path)
    check_fit(layout(), weights, path, "WavCaps HTSAT-BERT")
    check_numbers(weights, path)
    if not is_windowed_fourier(*(weights[name] for name in KERNELS)):
        raise CheckpointError(f"{path}: {' and '.join(KERNELS)} are not those of a Hann window, as WavCaps uses")
    return weights


class AudioNetwork(nn.Module):
    """Samples to rows of unit length.

    Args:
        weights: from `read_checkpoint`.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.log_mel = LogMel(weights[FILTERS], HOP)
        audio = {k.removeprefix(AUDIO): v for k, v in weights.items() if k.startswith(AUDIO) and k not in EXTRACTOR}
        self.htsat = Htsat(HTSAT, audio)
        self.head = _head("audio_proj", weights)

    def forward(self, waveforms: Tensor) -> Tensor:
        """(clips, samples) at 32 kHz to (clips, 1024)."""
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
            self.bert = bert()
        self.bert.load_state_dict({k.removeprefix(TEXT): v for k, v in weights.items() if k.startswith(TEXT)})
        self.head = _head("text_proj", weights)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Padded ids (captions, tokens) and their mask to (captions, 1024)."""
        hidden = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state
        return functional.normalize(self.head(hidden[:, 0]).float(), dim=-1)


def _head(name: str, weights: Mapping[str, Tensor]) -> nn.Sequential:
    first, last = (torch.nn.utils.skip_init(nn.Linear, *reversed(weights[f"{name}.{i}.weight"].shape)) for i in (0, 2))
    head = nn.Sequential(first, nn.ReLU(), last)
    head.load_state_dict({k.removeprefix(f"{name}."): v for k, v in weights.items() if k.startswith(f"{name}.")})
    return head
