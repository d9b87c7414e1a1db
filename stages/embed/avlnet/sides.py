"""Which rows each side of an AVLnet has on a corpus, and how they are read from cached features."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cache import tables as schemas
from cache.keys import combined_key, pack_keys
from pipeline import layout
from pipeline.wanted_rows import Row, WantedRows
from stages.avlnet.clip_items import caption_words, clip_picture, clip_sound
from stages.avlnet.feature_rows import FeatureRows
from stages.avlnet.items import Floats, Sound
from stages.avlnet.pair_ids import pair_id
from stages.embed.avlnet.config import AvlNetConfig

ROWS_PER_GROUP = 16
READ_TOGETHER = 16
"""Sounds that are kept while threads read the texts of their clips."""
Item = tuple[Sound | Floats, ...]


@dataclass(frozen=True)
class SideRows:
    """The rows of one side.

    Attributes:
        rows: ids and keys.
        item: what the network is given, by row id.
        made_from: fingerprints of the features.
    """

    rows: WantedRows
    item: Callable[[str], Item]
    made_from: list[str]

    def read(self, group: Sequence[Row]) -> Iterator[tuple[Row, Item]]:
        """Reads rows of one group."""
        return ((row, self.item(row.id)) for row in group)


class FeatureSides:
    """Opens the features that an AVLnet is given, and lists the rows of its sides.

    Args:
        corpus: whose clips and captions.
        config: of the encoder.
        sources: caption sources whose texts are wanted; None for all.
    """

    def __init__(self, corpus: str, config: AvlNetConfig, sources: frozenset[str] | None = None) -> None:
        self._corpus, self._config, self._sources = corpus, config, sources
        self._read = lru_cache(READ_TOGETHER)(self._clip_sound)
        self._sound = FeatureRows(corpus, config.sound, "clips")
        self._pictures = [FeatureRows(corpus, one, "clips") for one in (config.flat, config.moving)]
        self._words = None if config.words is None else FeatureRows(corpus, config.words, "captions")
        self._clips = schemas.read_table(layout.table(corpus, "clips"), schemas.CLIPS)["clip_id"].to_list()

    def of(self, side: str) -> SideRows:
        """The rows of `sound`, `picture`, `text` or `sound_text`."""
        made: SideRows = getattr(self, f"_{side}_rows")()
        return made

    def _sound_rows(self) -> SideRows:
        sound = self._sound
        keys = [(one, key) for one in self._clips if (key := sound.key(one)) is not None]
        return SideRows(_rows(keys), lambda id: (self._clip_sound(id),), [sound.fingerprint])

    def _picture_rows(self) -> SideRows:
        pictures = self._pictures
        seen = [one for one in self._clips if any(one in rows for rows in pictures)]
        keys = [(one, combined_key(*(rows.key(one) for rows in pictures))) for one in seen]
        fingerprints = [rows.fingerprint for rows in pictures]
        return SideRows(_rows(keys), lambda id: (clip_picture(pictures, id),), fingerprints)

    def _text_rows(self) -> SideRows:
        words = self._opened_words()
        keys = [(one, key) for one in self._captions() if (key := words.key(one)) is not None]
        return SideRows(_rows(keys), lambda id: (self._caption(id),), [words.fingerprint])

    def _sound_text_rows(self) -> SideRows:
        words, sound = self._opened_words(), self._sound
        wanted = {one for one in self._captions() if one in words}
        pairs = schemas.read_table(layout.table(self._corpus, "pairs"), schemas.PAIRS)
        parts = {
            pair_id(clip, caption): (clip, caption)
            for clip, caption in pairs.select("clip_id", "caption_id").iter_rows()
            if clip in sound and caption in wanted
        }
        keys = [(id, combined_key(sound.key(clip), words.key(caption))) for id, (clip, caption) in parts.items()]

        def item(id: str) -> Item:
            clip, caption = parts[id]
            return self._read(clip), self._caption(caption)

        clips = {clip: number for number, clip in enumerate(dict.fromkeys(clip for clip, _ in parts.values()))}
        groups = np.array([clips[clip] for clip, _ in parts.values()], np.int64)  # a clip's texts are read together
        return SideRows(_rows(keys, groups), item, [sound.fingerprint, words.fingerprint])

    def _captions(self) -> list[str]:
        captions = schemas.read_table(layout.table(self._corpus, "captions"), schemas.CAPTIONS)
        if self._sources is not None:
            captions = captions.filter(pl.col("source").is_in(list(self._sources)))
        return captions["caption_id"].to_list()

    def _clip_sound(self, clip: str) -> Sound:
        return replace(clip_sound(self._sound, clip, self._config.max_frames), key=self._sound.key(clip) or b"")

    def _caption(self, caption: str) -> Floats:
        return caption_words(self._opened_words(), caption, self._config.max_words)

    def _opened_words(self) -> FeatureRows:
        assert self._words is not None  # `command` refuses an AVLnet-Text without words
        return self._words


def _rows(keys: list[tuple[str, bytes]], groups: NDArray[np.int64] | None = None) -> WantedRows:
    ids = pl.Series([id for id, _ in keys], dtype=pl.String)
    if groups is None:
        groups = np.arange(len(keys)) // ROWS_PER_GROUP
    return WantedRows(ids, pack_keys([key for _, key in keys]), groups, ids)
