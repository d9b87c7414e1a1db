"""The two towers of LAION-CLAP, and the tokenizer of its text branch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import RobertaTokenizer

from pipeline.checkpoints.weights import CheckpointError
from stages.embed.models import clap_audio
from stages.embed.models.clap_audio import MelScale, Samples, Views
from stages.embed.models.hub_files import local_folder

TOKENIZER_FILES = ("vocab.json", "merges.txt")
REMEDY = (
    "put vocab.json, merges.txt and config.json of https://huggingface.co/FacebookAI/roberta-base into a folder and "
    "name that folder as `text_model` in the encoder's YAML"
)


class FusionTower:
    """Clips of any length, through a network with fusion.

    Args:
        model: CLAP with its audio branch.
        seed: of the chunks drawn from clips longer than 10 s.
        fuse_short: also fuse clips that are not longer.
        antialias: smooth the squeezed view of a longer clip.
        quantise_int16: round samples to 16 bits first.
    """

    def __init__(self, model: Any, *, seed: int, fuse_short: bool, antialias: bool, quantise_int16: bool) -> None:
        self._model, self._seed, self._fuse_short = model, seed, fuse_short
        self._antialias, self._quantise = antialias, quantise_int16
        self._scale = MelScale.of(model.audio_cfg)
        self._length = int(model.audio_cfg.clip_samples)

    def prepare(self, item: Samples, key: bytes) -> Views:
        """The spectrograms of a clip, its chunks drawn from a generator seeded by the row key."""
        return self.views(item, clap_audio.seeded_draw(key, self._seed))

    def views(self, samples: Samples, draw: clap_audio.Draw) -> Views:
        """The spectrograms of a clip, its chunks drawn by a function."""
        waveform = _waveform(samples, self._quantise)
        return clap_audio.fusion_views(waveform, self._length, draw, self._scale, self._antialias)

    @torch.inference_mode()
    def encode(self, batch: Sequence[Views]) -> np.ndarray:
        """(clips, 512) unit-length rows.

        The package's network, in evaluation, fuses exactly the clips flagged longer, so that a row does not depend
        on its batch. (In the original repository a batch without a longer clip has one flagged at random.)
        """
        device = next(self._model.parameters()).device
        items = [
            {
                "mel_fusion": clip.mel.to(device).expand(4, -1, -1),
                "longer": torch.tensor([clip.longer or self._fuse_short]),
            }
            for clip in batch
        ]
        return _rows(self._model.get_audio_embedding(items))


class WaveformTower:
    """Clips of 10 s, or drawn crops of longer ones, through a network without fusion.

    Args:
        model: CLAP with its audio branch.
        seed: of the crops drawn from clips longer than 10 s.
        quantise_int16: round samples to 16 bits first.
    """

    def __init__(self, model: Any, *, seed: int, quantise_int16: bool) -> None:
        self._model, self._seed, self._quantise = model, seed, quantise_int16
        self._length = int(model.audio_cfg.clip_samples)

    def prepare(self, item: Samples, key: bytes) -> Tensor:
        """10 s of sound, cropped by a generator seeded by the row key, or repeated and padded."""
        draw = clap_audio.seeded_draw(key, self._seed)
        return clap_audio.crop_or_repeat(_waveform(item, self._quantise), self._length, draw)

    @torch.inference_mode()
    def encode(self, batch: Sequence[Tensor]) -> np.ndarray:
        """(clips, 512) unit-length rows."""
        return _rows(self._model.get_audio_embedding([{"waveform": waveform} for waveform in batch]))


class CaptionTower:
    """Captions through the text branch.

    Args:
        model: CLAP with its text branch.
        tokenizer: from `load_tokenizer`.
        max_tokens: longer captions are cut, the two marks at the ends included.

    Raises:
        CheckpointError: the tokenizer is not the one of the text branch.
    """

    def __init__(self, model: Any, tokenizer: Any, max_tokens: int) -> None:
        self._model = model
        config = model.text_branch.config
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
        """(captions, 512) unit-length rows."""
        ids = pad_sequence(list(batch), batch_first=True, padding_value=self._pad)
        lengths = torch.tensor([len(tokens) for tokens in batch])
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        return self.encode_ids(ids, mask)

    @torch.inference_mode()
    def encode_ids(self, ids: Tensor, mask: Tensor) -> np.ndarray:
        """(captions, 512) unit-length rows of padded token ids and their mask."""
        return _rows(self._model.get_text_embedding({"input_ids": ids, "attention_mask": mask}))


def load_tokenizer(text_model: str) -> Any:
    """The tokenizer in a local folder, or of a hub id from the Hugging Face cache or the hub.

    Raises:
        UserError: there is no such folder, and neither cache nor hub has the files.
        CheckpointError: the files are not a tokenizer's.
    """
    folder = local_folder(text_model, TOKENIZER_FILES, REMEDY)
    if not (folder / "tokenizer.json").is_file():
        # Without these RobertaTokenizer would silently make a tokenizer that knows no words.
        missing = [name for name in TOKENIZER_FILES if not (folder / name).is_file()]
        if missing:
            raise CheckpointError(f"{folder} lacks {' and '.join(missing)} of the RoBERTa tokenizer")
    try:
        return RobertaTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # damaged files raise anything
        raise CheckpointError(f"{folder} has no usable RoBERTa tokenizer: {error}") from error


def _waveform(samples: Samples, quantise: bool) -> Tensor:
    return torch.from_numpy(clap_audio.quantise_int16(samples) if quantise else samples.astype(np.float32, copy=False))


def _rows(embeddings: Tensor) -> np.ndarray:
    return embeddings.float().cpu().numpy()
