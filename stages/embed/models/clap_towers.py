"""The two towers of CLAP."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from pipeline.checkpoints.weights import CheckpointError
from stages.embed.models import clap_audio
from stages.embed.models.clap_audio import Samples, Views
from stages.embed.models.clap_networks import AudioNetwork, TextNetwork
from stages.embed.models.htsat import clips_together


class ClipTower:
    """Clips of any length.

    Args:
        network: on its device.
        seed: of the chunks (with fusion) or the crop (without) drawn from clips longer than 10 s.
        fuse_short: also fuse clips that are not longer.
        antialias: smooth the squeezed view of a longer clip.
        quantise_int16: round samples to 16 bits first.

    Attributes:
        networks: those that may be compiled.
    """

    def __init__(
        self, network: AudioNetwork, *, seed: int, fuse_short: bool, antialias: bool, quantise_int16: bool
    ) -> None:
        self._network, self._seed, self._fuse_short = network, seed, fuse_short
        self._antialias, self._quantise = antialias, quantise_int16
        self.networks = [network]

    def prepare(self, item: Samples, key: bytes) -> Views:
        """The spectrograms of a clip, its crop or chunks drawn from a generator seeded by the row key."""
        return self.views(item, clap_audio.seeded_draw(key, self._seed))

    def views(self, samples: Samples, draw: clap_audio.Draw) -> Views:
        """The spectrograms of a clip, its crop or chunks drawn by a function."""
        samples = clap_audio.quantise_int16(samples) if self._quantise else samples.astype(np.float32, copy=False)
        waveform, length, scale = torch.from_numpy(samples), self._network.length, self._network.scale
        if not self._network.fusion:
            return clap_audio.crop_view(waveform, length, draw, scale)
        return clap_audio.fusion_views(waveform, length, draw, scale, self._antialias)

    @torch.inference_mode()
    def encode(self, batch: Sequence[Views]) -> np.ndarray:
        """(clips, dim) unit-length rows.

        Exactly the clips that are longer are fused, or all, so that a row does not depend on its batch. (In the
        original repository a batch without a longer clip has one fused at random.)
        """
        together = clips_together(self._network.device, len(batch))
        return np.concatenate([self._embed(batch[i : i + together]) for i in range(0, len(batch), together)])

    def _embed(self, batch: Sequence[Views]) -> np.ndarray:
        mels = torch.cat([clip.mel for clip in batch])
        counts = torch.tensor([len(clip.mel) for clip in batch])
        views = (counts.cumsum(0) - counts)[:, None] + torch.arange(4).clamp(max=counts[:, None] - 1)
        fused = torch.tensor([clip.longer or self._fuse_short for clip in batch]) if self._network.fusion else None
        return _rows(self._network(mels.to(self._network.device), views, fused))


class CaptionTower:
    """Captions through the text branch.

    Args:
        network: on its device.
        tokenizer: from `load_tokenizer`.
        max_tokens: longer captions are cut, the two marks at the ends included.

    Attributes:
        networks: those that may be compiled.

    Raises:
        CheckpointError: the tokenizer is not the one of the text branch.
    """

    def __init__(self, network: TextNetwork, tokenizer: Any, max_tokens: int) -> None:
        self._network, self.networks = network, [network]
        config = network.branch.config
        marks = (tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id)
        wanted = (config.bos_token_id, config.pad_token_id, config.eos_token_id)
        if len(tokenizer) > config.vocab_size or marks != wanted:
            raise CheckpointError(
                f"the tokenizer has {len(tokenizer)} tokens and its <s>, <pad>, </s> are {marks}, but the text branch "
                f"knows {config.vocab_size} tokens and expects {wanted}: use the files of roberta-base"
            )
        self._pad = wanted[1]
        self._tokens = partial(tokenizer, truncation=True, max_length=max_tokens)
        self._tokens("")  # sets the truncation up, which is not safe in several threads at once

    def prepare(self, item: str, key: bytes) -> Tensor:
        """Token ids; nothing is drawn at random, so that the row key plays no part."""
        return torch.tensor(self._tokens(item)["input_ids"])

    @torch.inference_mode()
    def encode(self, batch: Sequence[Tensor]) -> np.ndarray:
        """(captions, dim) unit-length rows."""
        ids = pad_sequence(list(batch), batch_first=True, padding_value=self._pad)
        lengths = torch.tensor([len(tokens) for tokens in batch])
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        return self.encode_ids(ids, mask)

    @torch.inference_mode()
    def encode_ids(self, ids: Tensor, mask: Tensor) -> np.ndarray:
        """(captions, dim) unit-length rows of padded token ids and their mask."""
        return _rows(self._network(ids.to(self._network.device), mask.to(self._network.device)))


def _rows(embeddings: Tensor) -> np.ndarray:
    return embeddings.float().cpu().numpy()
