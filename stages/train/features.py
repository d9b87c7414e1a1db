"""Cached features of the clips to train on, read row by row from artifacts: never a whole cache in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from cache import tables as schemas
from cache.artifact import Artifact, open_artifact
from cache.errors import UserError
from pipeline import layout
from pipeline.subsets import read_subset
from stages.avlnet import items
from stages.avlnet.items import Floats
from stages.avlnet.shape import WORD_DIM
from stages.train.config import TrainingConfig


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


class CachedFeatures:
    """The clips of a subset that have sound (and, with text, a caption), in the order of the clips table.

    A clip without picture features has zeros for them, as in the authors' loaders.

    Args:
        config: of the training.
        subset: name of the subset, None for all clips.

    Attributes:
        clip_ids: of the clips.
        n_without_sound: clips of the subset that have no spectrogram.

    Raises:
        UserError: a table or artifact is missing or damaged, or not of the kind that its name in the config says.
    """

    def __init__(self, config: TrainingConfig, subset: str | None) -> None:
        self._config = config
        self._sound, self._sound_rows = _opened(config, config.sound, "clips")
        self._pictures = [_opened(config, one, "clips") for one in (config.flat, config.moving)]
        self._words: Artifact | None = None
        self._captions: Mapping[str, Sequence[int]] = {}
        clips = schemas.read_table(layout.table(config.corpus, "clips"), schemas.CLIPS)["clip_id"].to_list()
        members = set(clips) if subset is None else read_subset(config.corpus, subset)
        wanted = [one for one in clips if one in members]
        self.clip_ids = [one for one in wanted if one in self._sound_rows]
        self.n_without_sound = len(wanted) - len(self.clip_ids)
        if config.words is not None:
            self._words, rows = _opened(config, config.words, "captions")
            self._captions = _captions_of(config, self.clip_ids, rows)
            self.clip_ids = [one for one in self.clip_ids if one in self._captions]

    @property
    def picture_dim(self) -> int:
        """Length of a picture feature."""
        return sum(artifact.format.dim for artifact, _ in self._pictures)

    @property
    def word_dim(self) -> int:
        """Length of a word vector."""
        return WORD_DIM if self._words is None else self._words.format.dim

    def identity(self) -> dict[str, object]:
        """What decides the features: which encoders made them, of which clips."""
        opened = [self._sound, *(artifact for artifact, _ in self._pictures), *([self._words] if self._words else [])]
        return {
            "encoders": [artifact.description.get("fingerprint") for artifact in opened],
            "rows": [[self._sound.keys[self._sound_rows[one]].tobytes().hex(), one] for one in self.clip_ids],
        }

    def __len__(self) -> int:
        return len(self.clip_ids)

    def training_items(self, i: int, random: np.random.Generator) -> list[Item]:
        """Clip i as it is trained on: one item, or one for each random window.

        Args:
            i: number of the clip.
            random: for the caption of a clip that has several, and for windows.
        """
        windows = self._config.windows
        if windows is None:
            captions = self._captions.get(self.clip_ids[i], [])
            return [self._item(i, captions[int(random.integers(len(captions)))] if captions else None)]
        row = self._sound_rows[self.clip_ids[i]]
        n_frames = _length(self._sound, row)
        drawn = items.random_windows(n_frames, windows.frames, windows.per_clip, random)
        return [self._window(i, row, one) for one in drawn]

    def evaluation_item(self, i: int) -> Item:
        """Clip i as it is evaluated on: whole, with its first caption."""
        captions = self._captions.get(self.clip_ids[i], [])
        return self._item(i, captions[0] if captions else None)

    def _item(self, i: int, caption: int | None) -> Item:
        row, longest = self._sound_rows[self.clip_ids[i]], self._config.max_frames
        spectrogram = self._sound.part(row, 0, longest)
        sound = items.padded_sound(spectrogram, longest, _length(self._sound, row))
        words = None
        if self._words is not None and caption is not None:
            words = items.text_item(self._words.part(caption, 0, self._config.max_words), self._config.max_words)
        return Item(self._picture(i), sound, words)

    def _window(self, i: int, row: int, window: items.Window) -> Item:
        spectrogram = self._sound.part(row, *window.sound)
        return Item(self._picture(i, window), items.padded_sound(spectrogram, window.n_frames), None)

    def _picture(self, i: int, window: items.Window | None = None) -> Floats:
        parts = []
        for (artifact, rows), rate in zip(self._pictures, (items.FLAT_RATE, items.MOVING_RATE), strict=True):
            row = rows.get(self.clip_ids[i])
            if row is None:
                parts.append(np.zeros((0, artifact.format.dim), np.float32))
            else:
                parts.append(artifact.part(row, *(window.picture(rate) if window else (0, None))))
        return items.picture_item(*parts)


def _length(artifact: Artifact, row: int) -> int:
    assert artifact.offsets is not None
    return int(artifact.offsets[row + 1] - artifact.offsets[row])


def _opened(config: TrainingConfig, encoder: str, modality: str) -> tuple[Artifact, dict[str, int]]:
    artifact = open_artifact(layout.embeddings(config.corpus, encoder, modality))
    if not artifact.format.ragged:
        raise UserError(f"{artifact.path} holds embeddings, not features over time: name a feature encoder instead.")
    return artifact, {one: row for row, one in enumerate(artifact.ids)}


def _captions_of(config: TrainingConfig, clips: Collection[str], rows: Mapping[str, int]) -> dict[str, list[int]]:
    captions = schemas.read_table(layout.table(config.corpus, "captions"), schemas.CAPTIONS)
    chosen = set(captions.filter(pl.col("source") == config.captions)["caption_id"]) & set(rows)
    pairs = schemas.read_table(layout.table(config.corpus, "pairs"), schemas.PAIRS)
    wanted = set(clips)
    found: dict[str, list[int]] = {}
    for clip_id, caption_id in pairs.select("clip_id", "caption_id").iter_rows():
        if clip_id in wanted and caption_id in chosen:
            found.setdefault(clip_id, []).append(rows[caption_id])
    return found
