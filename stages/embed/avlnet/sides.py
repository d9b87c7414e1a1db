"""Which rows each side of an AVLnet has on a corpus, and how they are read from cached features."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from cache import tables as schemas
from cache.keys import combined_key, pack
from pipeline import layout
from pipeline.wanted_rows import Row, WantedRows
from stages.avlnet.clip_items import caption_words, clip_picture, clip_sound
from stages.avlnet.feature_rows import FeatureRows
from stages.avlnet.items import Floats, Sound
from stages.avlnet.pair_ids import pair_id
from stages.embed.avlnet.config import AvlNetConfig

ROWS_PER_GROUP = 16
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
    """

    def __init__(self, corpus: str, config: AvlNetConfig) -> None:
        self._corpus, self._config = corpus, config
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
        captions = schemas.read_table(layout.table(self._corpus, "captions"), schemas.CAPTIONS)["caption_id"].to_list()
        keys = [(one, key) for one in captions if (key := words.key(one)) is not None]
        return SideRows(_rows(keys), lambda id: (self._caption(id),), [words.fingerprint])

    def _sound_text_rows(self) -> SideRows:
        words, sound = self._opened_words(), self._sound
        pairs = schemas.read_table(layout.table(self._corpus, "pairs"), schemas.PAIRS)
        parts = {
            pair_id(clip, caption): (clip, caption)
            for clip, caption in pairs.select("clip_id", "caption_id").iter_rows()
            if clip in sound and caption in words
        }
        keys = [(id, combined_key(sound.key(clip), words.key(caption))) for id, (clip, caption) in parts.items()]

        def item(id: str) -> Item:
            clip, caption = parts[id]
            return self._clip_sound(clip), self._caption(caption)

        return SideRows(_rows(keys), item, [sound.fingerprint, words.fingerprint])

    def _clip_sound(self, clip: str) -> Sound:
        return clip_sound(self._sound, clip, self._config.max_frames)

    def _caption(self, caption: str) -> Floats:
        return caption_words(self._opened_words(), caption, self._config.max_words)

    def _opened_words(self) -> FeatureRows:
        assert self._words is not None  # `command` refuses an AVLnet-Text without words
        return self._words


def _rows(keys: list[tuple[str, bytes]]) -> WantedRows:
    ids = pl.Series([id for id, _ in keys], dtype=pl.String)
    return WantedRows(ids, pack([key for _, key in keys]), np.arange(len(keys)) // ROWS_PER_GROUP, ids)
