"""The two towers of WavCaps' retrieval model (https://arxiv.org/abs/2303.17395), from one checkpoint.

Sound: log-mel, HTS-AT, a head of two layers; text: BERT's first token, a head of two layers; unit length both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers.initialization import no_init_weights

from pipeline.checkpoints.weights import CheckpointError, check_fit, drop_position_ids, read_state_dict
from stages.embed.models.ase_layout import AUDIO, EXTRACTOR, FILTERS, HTSAT, KERNELS, TEXT, bert, layout
from stages.embed.models.clap_audio import Draw, Samples, seeded_draw
from stages.embed.models.htsat import Htsat, clips_together
from stages.embed.models.log_mel import LogMel, is_windowed_fourier
from stages.embed.models.placing import place
from stages.embed.models.wavcaps_text import spoken_text

HOP = 320


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Reads a published file `{'model': ...}` and checks every key, shape and constant of it.

    Raises:
        CheckpointError: the file cannot be used, or is of another architecture.
    """
    weights = read_state_dict(path, wrappers=("model", "state_dict"))
    drop_position_ids(weights, path)
    check_fit(layout(), weights, path, "WavCaps HTSAT-BERT")
    if not is_windowed_fourier(*(weights[name] for name in KERNELS)):
        raise CheckpointError(f"{path}: {' and '.join(KERNELS)} are not those of a Hann window, as WavCaps listens")
    return weights


class ClipTower:
    """Sound of any length: a drawn crop of a longer clip, a shorter one padded with silence.

    Args:
        weights: from `read_checkpoint`.
        device: where the network computes.
        max_samples: what the network hears at once.
        seed: of the crops.
    """

    def __init__(self, weights: Mapping[str, Tensor], device: torch.device, max_samples: int, seed: int) -> None:
        self._device, self._max_samples, self._seed = device, max_samples, seed
        self._log_mel = place(LogMel(weights[FILTERS], HOP), device)
        audio = {k.removeprefix(AUDIO): v for k, v in weights.items() if k.startswith(AUDIO) and k not in EXTRACTOR}
        self._network = place(Htsat(HTSAT, audio), device)
        self._head = place(_head("audio_proj", weights), device)
        self.networks = (self._network, self._head)

    def prepare(self, item: Samples, key: bytes) -> Samples:
        """The clip, or the crop of it that the row key and the seed decide."""
        return drawn_crop(item, self._max_samples, seeded_draw(key, self._seed))

    @torch.inference_mode()
    def encode(self, batch: Sequence[Samples]) -> np.ndarray:
        """(clips, 1024) unit-length rows."""
        together = clips_together(self._device, len(batch))
        parts = [batch[first : first + together] for first in range(0, len(batch), together)]
        return np.concatenate([self._embed(self.waveforms(part)) for part in parts])

    def waveforms(self, batch: Sequence[Samples]) -> Tensor:
        """(clips, max_samples), silence after the shorter ones."""
        padded = torch.zeros(len(batch), self._max_samples)
        for row, samples in zip(padded, batch, strict=True):
            row[: len(samples)] = torch.from_numpy(samples)
        return padded.to(self._device)

    def _embed(self, waveforms: Tensor) -> np.ndarray:
        views = torch.arange(len(waveforms))[:, None]
        return _rows(self._head(self._network(self._log_mel(waveforms), views)))


def drawn_crop(samples: Samples, max_samples: int, draw: Draw) -> Samples:
    """A copy of a clip of at most `max_samples`, or of that many samples anywhere in a longer one.

    Raises:
        ValueError: there is no sample.
    """
    if len(samples) == 0:
        raise ValueError("a clip needs at least one sample")
    spare = len(samples) - max_samples
    start = draw(range(spare + 1)) if spare > 0 else 0
    return np.array(samples[start : start + max_samples], np.float32)


class CaptionTower:
    """Captions through BERT.

    Args:
        weights: from `read_checkpoint`.
        tokenizer: of `bert-base-uncased`.
        device: where the network computes.
        max_tokens: longer captions are cut, the two marks at the ends included.
        strips_punctuation: captions are written as WavCaps writes them.
    """

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        tokenizer: Any,
        device: torch.device,
        max_tokens: int,
        strips_punctuation: bool,
    ) -> None:
        with no_init_weights():
            network = bert()
        network.load_state_dict({k.removeprefix(TEXT): v for k, v in weights.items() if k.startswith(TEXT)})
        self._device = device
        self._network = place(network, device)
        self._head = place(_head("text_proj", weights), device)
        self.networks = (self._network, self._head)
        self._spoken = spoken_text if strips_punctuation else str
        self._tokens = partial(tokenizer, truncation=True, max_length=max_tokens)
        self._tokens("")  # sets the truncation up, which is not safe in several threads at once

    def prepare(self, item: str, key: bytes) -> Tensor:
        """Token ids; nothing is drawn at random, so that the row key plays no part."""
        return torch.tensor(self._tokens(self._spoken(item))["input_ids"])

    @torch.inference_mode()
    def encode(self, batch: Sequence[Tensor]) -> np.ndarray:
        """(captions, 1024) unit-length rows."""
        ids = pad_sequence(list(batch), batch_first=True)
        lengths = torch.tensor([len(tokens) for tokens in batch])
        mask = torch.arange(ids.shape[1]) < lengths[:, None]
        hidden = self._network(input_ids=ids.to(self._device), attention_mask=mask.long().to(self._device))
        return _rows(self._head(hidden.last_hidden_state[:, 0]))


def _head(name: str, weights: Mapping[str, Tensor]) -> nn.Sequential:
    first, last = (torch.nn.utils.skip_init(nn.Linear, *reversed(weights[f"{name}.{i}.weight"].shape)) for i in (0, 2))
    head = nn.Sequential(first, nn.ReLU(), last)
    head.load_state_dict({k.removeprefix(f"{name}."): v for k, v in weights.items() if k.startswith(f"{name}.")})
    return head


def _rows(embeddings: Tensor) -> np.ndarray:
    return functional.normalize(embeddings.float(), dim=-1).cpu().numpy()
