"""Cached features of the clips to train on, read row by row from artifacts: never a whole cache in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import numpy as np
import polars as pl

from cache import tables as schemas
from cache.keys import combined_key
from pipeline.config import layout
from pipeline.config.subsets import read_subset
from pipeline.networks import avlnet_inputs as items
from pipeline.networks.avlnet_inputs import caption_words, clip_features, clip_spectrogram
from pipeline.networks.avlnet_shape import WORD_DIM
from pipeline.runner.features import FeatureRows
from stages.train.batches import Item
from stages.train.config import TrainingConfig

SCORED = "eval"
"""Caption source of what a clip is scored on, where a corpus has such (MSR-VTT)."""


class Features(Protocol):
    """Clips to train on.

    Attributes:
        clip_ids: of the clips.
        left_out: what of the corpus is not trained on and why; empty if nothing.
        word_dim: length of a word vector.
    """

    clip_ids: list[str]
    left_out: str
    word_dim: int

    @property
    def video_dim(self) -> int:
        """Length of the video features, 2D and 3D together."""

    def __len__(self) -> int: ...

    def identity(self) -> dict[str, object]:
        """What decides the features."""

    def training_items(self, i: int, random: np.random.Generator) -> list[Item]:
        """Clip i as it is trained on: one item, or one for each random window.

        Args:
            i: number of the clip.
            random: for the caption of a clip that has several, and for windows.
        """


class CachedFeatures:
    """The clips of a subset that have audio (and, with text, a caption), in the order of the clips table.

    A clip without video features has zeros for them, as in the authors' loaders.

    Args:
        config: of the training.
        subset: name of the subset, None for all clips.

    Attributes:
        clip_ids: of the clips.
        left_out: how many clips of the subset have no spectrogram; empty if all have.
        word_dim: length of a word vector.

    Raises:
        UserError: a table or artifact is missing or damaged, or not of the kind that its name in the config says.
    """

    def __init__(self, config: TrainingConfig, subset: str | None) -> None:
        self._config = config
        self._audio = FeatureRows(config.corpus, config.audio, "clips")
        self._video = [FeatureRows(config.corpus, name, "clips") for name in (config.features_2d, config.features_3d)]
        self._text = None if config.text is None else FeatureRows(config.corpus, config.text, "captions")
        clips = schemas.read_table(layout.table(config.corpus, "clips"), schemas.CLIPS)["clip_id"].to_list()
        members = set(clips) if subset is None else read_subset(config.corpus, subset)
        wanted = [clip for clip in clips if clip in members]
        self.clip_ids = [clip for clip in wanted if clip in self._audio]
        n_silent = len(wanted) - len(self.clip_ids)
        self.left_out = f"{n_silent} clips without audio" if n_silent else ""
        self.word_dim = WORD_DIM if self._text is None else self._text.dim
        self._captions: Mapping[str, Sequence[str]] = {}
        self._scored: Mapping[str, Sequence[str]] = {}
        if self._text is not None:
            self._captions = _captions_of(config.corpus, config.captions, self.clip_ids, self._text)
            self._scored = _captions_of(config.corpus, SCORED, self.clip_ids, self._text)
            self.clip_ids = [clip for clip in self.clip_ids if clip in self._captions]

    @property
    def video_dim(self) -> int:
        """Length of the video features, 2D and 3D together."""
        return sum(features.dim for features in self._video)

    def identity(self) -> dict[str, object]:
        """What decides the features: which encoders made them, of which clips."""
        of_clips = [self._audio, *self._video]
        opened = [*of_clips, *([self._text] if self._text else [])]
        return {
            "encoders": [rows.fingerprint for rows in opened],
            "clips": [[clip, combined_key(*(rows.key(clip) for rows in of_clips)).hex()] for clip in self.clip_ids],
            "captions": [[self._caption_key(name) for name in self._captions.get(clip, [])] for clip in self.clip_ids],
        }

    def _caption_key(self, caption: str) -> str:
        assert self._text is not None
        return combined_key(self._text.key(caption)).hex()

    def __len__(self) -> int:
        return len(self.clip_ids)

    def training_items(self, i: int, random: np.random.Generator) -> list[Item]:
        """See `Features.training_items`."""
        windows = self._config.windows
        if windows is None:
            captions = self._captions.get(self.clip_ids[i], [])
            return [self._item(i, captions[int(random.integers(len(captions)))] if captions else None)]
        clip = self.clip_ids[i]
        drawn = items.random_windows(self._audio.length(clip), windows.frames, windows.per_clip, random)
        return [self._window(clip, window) for window in drawn]

    def evaluation_item(self, i: int) -> Item:
        """Clip i as it is evaluated on: whole, with the caption that its corpus is scored on, or its first one."""
        clip = self.clip_ids[i]
        captions = self._scored.get(clip) or self._captions.get(clip, [])
        return self._item(i, captions[0] if captions else None)

    def _item(self, i: int, caption: str | None) -> Item:
        clip, text = self.clip_ids[i], None
        if self._text is not None and caption is not None:
            text = caption_words(self._text, caption, self._config.max_words)
        audio = clip_spectrogram(self._audio, clip, self._config.max_frames)
        return Item(clip_features(self._video, clip), audio, text)

    def _window(self, clip: str, window: items.Window) -> Item:
        audio = items.padded_spectrogram(self._audio.part(clip, *window.spectrogram_range), window.n_frames)
        return Item(clip_features(self._video, clip, window), audio, None)


def _captions_of(corpus: str, source: str, clips: Collection[str], words: FeatureRows) -> dict[str, list[str]]:
    captions = schemas.read_table(layout.table(corpus, "captions"), schemas.CAPTIONS)
    chosen = set(captions.filter(pl.col("source") == source)["caption_id"])
    pairs = schemas.read_table(layout.table(corpus, "pairs"), schemas.PAIRS)
    wanted = set(clips)
    found: dict[str, list[str]] = {}
    for clip_id, caption_id in pairs.select("clip_id", "caption_id").iter_rows():
        if clip_id in wanted and caption_id in chosen and caption_id in words:
            found.setdefault(clip_id, []).append(caption_id)
    return found
