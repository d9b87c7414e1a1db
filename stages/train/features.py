"""Cached features of the clips to train on, read row by row from artifacts: never a whole cache in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import polars as pl

from cache import tables as schemas
from cache.keys import combined_key
from pipeline import layout
from pipeline.networks.avlnet_shape import WORD_DIM
from pipeline.subsets import read_subset
from stages.avlnet import items
from stages.avlnet.clip_items import caption_words, clip_picture, clip_sound
from stages.avlnet.feature_rows import FeatureRows
from stages.avlnet.items import Floats
from stages.train.config import TrainingConfig

SCORED = "eval"
"""Caption source of what a clip is scored on, where a corpus has such (MSR-VTT)."""


@dataclass(frozen=True, eq=False)
class Item:
    """What the network is given of one clip, or of one stretch of it.

    Attributes:
        picture: float32 (picture_dim,).
        sound: padded spectrogram.
        words: float32 (max_words, word_dim) of the variants with text.
    """

    picture: Floats
    sound: items.Sound
    words: Floats | None


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
    def picture_dim(self) -> int:
        """Length of a picture feature."""

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
    """The clips of a subset that have sound (and, with text, a caption), in the order of the clips table.

    A clip without picture features has zeros for them, as in the authors' loaders.

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
        self._sound = FeatureRows(config.corpus, config.sound, "clips")
        self._pictures = [FeatureRows(config.corpus, one, "clips") for one in (config.flat, config.moving)]
        self._words = None if config.words is None else FeatureRows(config.corpus, config.words, "captions")
        clips = schemas.read_table(layout.table(config.corpus, "clips"), schemas.CLIPS)["clip_id"].to_list()
        members = set(clips) if subset is None else read_subset(config.corpus, subset)
        wanted = [one for one in clips if one in members]
        self.clip_ids = [one for one in wanted if one in self._sound]
        n_silent = len(wanted) - len(self.clip_ids)
        self.left_out = f"{n_silent} clips without sound" if n_silent else ""
        self.word_dim = WORD_DIM if self._words is None else self._words.dim
        self._captions: Mapping[str, Sequence[str]] = {}
        self._scored: Mapping[str, Sequence[str]] = {}
        if self._words is not None:
            self._captions = _captions_of(config.corpus, config.captions, self.clip_ids, self._words)
            self._scored = _captions_of(config.corpus, SCORED, self.clip_ids, self._words)
            self.clip_ids = [one for one in self.clip_ids if one in self._captions]

    @property
    def picture_dim(self) -> int:
        """Length of a picture feature."""
        return sum(one.dim for one in self._pictures)

    def identity(self) -> dict[str, object]:
        """What decides the features: which encoders made them, of which clips."""
        opened = [self._sound, *self._pictures, *([self._words] if self._words else [])]
        return {
            "encoders": [one.fingerprint for one in opened],
            "clips": [[one, combined_key(*(rows.key(one) for rows in opened[:3])).hex()] for one in self.clip_ids],
            "captions": [[self._caption_key(name) for name in self._captions.get(one, [])] for one in self.clip_ids],
        }

    def _caption_key(self, caption: str) -> str:
        assert self._words is not None
        return combined_key(self._words.key(caption)).hex()

    def __len__(self) -> int:
        return len(self.clip_ids)

    def training_items(self, i: int, random: np.random.Generator) -> list[Item]:
        """See `Features.training_items`."""
        windows = self._config.windows
        if windows is None:
            captions = self._captions.get(self.clip_ids[i], [])
            return [self._item(i, captions[int(random.integers(len(captions)))] if captions else None)]
        clip = self.clip_ids[i]
        drawn = items.random_windows(self._sound.length(clip), windows.frames, windows.per_clip, random)
        return [self._window(clip, one) for one in drawn]

    def evaluation_item(self, i: int) -> Item:
        """Clip i as it is evaluated on: whole, with the caption that its corpus is scored on, or its first one."""
        clip = self.clip_ids[i]
        captions = self._scored.get(clip) or self._captions.get(clip, [])
        return self._item(i, captions[0] if captions else None)

    def _item(self, i: int, caption: str | None) -> Item:
        clip, words = self.clip_ids[i], None
        if self._words is not None and caption is not None:
            words = caption_words(self._words, caption, self._config.max_words)
        sound = clip_sound(self._sound, clip, self._config.max_frames)
        return Item(clip_picture(self._pictures, clip), sound, words)

    def _window(self, clip: str, window: items.Window) -> Item:
        spectrogram = self._sound.part(clip, *window.sound)
        picture = clip_picture(self._pictures, clip, window)
        return Item(picture, items.padded_sound(spectrogram, window.n_frames), None)


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
