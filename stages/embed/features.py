"""What AVLnet embeds of a corpus: the rows of its sides, read from features that other encoders have cached."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from uuid import uuid4

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cache import tables as schemas
from cache.artifact import open_artifact
from cache.errors import UserError
from cache.keys import combined_key, pack_keys
from cache.rows import RowFormat
from pipeline.checkpoints.fingerprints import digest_of, fingerprint_of
from pipeline.checkpoints.official import existing
from pipeline.config import layout
from pipeline.monitor.problems import Problems
from pipeline.networks.avlnet_inputs import Floats, Spectrogram, caption_words, clip_features, clip_spectrogram
from pipeline.networks.avlnet_shape import NAMES, Shape
from pipeline.runner.features import FeatureRows
from pipeline.runner.rows import Row, WantedRows, pair_id
from stages.embed.embeddings import Embeddings
from stages.embed.encoder import ItemKind
from stages.embed.encoders.avlnet import AvlNetConfig, Item, SideLoader, encoder_file, load_avlnet_config, network
from stages.embed.inputs import Items

ROWS_PER_GROUP = 16
READ_TOGETHER = 16
"""Spectrograms that are kept while threads read the texts of their clips."""


class FeatureSource:
    """The sides of an AVLnet on a corpus; see `Source`.

    Args:
        corpus: whose clips and captions.
        name: of the encoder.

    Raises:
        UserError: no such encoder, a checkpoint or an artifact of features is missing, or the two do not fit.
    """

    folders: Sequence[Path] = ()

    def __init__(self, corpus: str, name: str) -> None:
        self._corpus, self._name, self._config = corpus, name, load_avlnet_config(corpus, name)
        self._run, config = uuid4().hex, self._config
        existing(config.checkpoint)
        shape = self._embedded() or network(config.checkpoint).shape
        if (shape.variant == "bi") != (config.text is None):
            remedy = "leave out `text`" if config.text else "name an encoder of word vectors as `text`"
            raise UserError(f"{encoder_file(name)}: {config.checkpoint} is {NAMES[shape.variant]}: {remedy}.")
        self._digest = digest_of(config.checkpoint)
        self.embeddings = [self._of_side(side, shape.dim) for side in shape.sides]

    def _embedded(self) -> Shape | None:
        """The variant and dimension of the network, by the artifacts that an earlier run made of this very checkpoint.

        Thus a run that has nothing to do loads no network, only to ask it for its shape.
        """
        for variant in NAMES:
            sides = Shape(variant).sides
            paths = [layout.embeddings(self._corpus, self._name, side) for side in sides]
            if (variant == "bi") != (self._config.text is None) or not all(path.exists() for path in paths):
                continue
            with suppress(UserError):  # such as a damaged one, which is made anew
                artifacts = [open_artifact(path) for path in paths]
                dim = artifacts[0].format.dim
                wanted = [(self._of_side(side, dim).fingerprint, dim) for side in sides]
                if [(one.description.get("fingerprint"), one.format.dim) for one in artifacts] == wanted:
                    return Shape(variant, dim)
        return None

    def _of_side(self, side: str, dim: int) -> Embeddings:
        made_from = self._reader(side).side_rows().made_from
        fingerprint, identity = fingerprint_of({**self._config.identity(side), "features": made_from})
        modality: ItemKind = "captions" if side.endswith("text") else "clips"
        return Embeddings(self._corpus, self._name, modality, fingerprint, identity, RowFormat(dim), side)

    def items(self, embeddings: Embeddings, problems: Problems) -> Items:
        """See `Source`."""
        reader, captions = self._reader(embeddings.name), self._config.captions
        only_some = captions is not None and embeddings.modality == "captions"
        note = f"texts of {', '.join(sorted(captions))}" if captions is not None and only_some else ""
        return Items(reader.side_rows().rows, reader, note)

    def load(self, embeddings: Embeddings, device: str | None, compiled: bool) -> SideLoader:
        """See `Source`.

        Raises:
            UserError: compiling was asked for.
        """
        if compiled:
            raise UserError("AVLnet has nothing to compile: run without --compile.")
        return SideLoader(self._config.checkpoint, self._digest, embeddings.name, device)

    def _reader(self, side: str) -> FeatureReader:
        return FeatureReader(self._corpus, self._config, side, self._run)


@dataclass(frozen=True)
class FeatureReader:
    """Reads the rows of one side from cached features; each process opens them once.

    Attributes:
        corpus: whose clips and captions.
        config: of the encoder.
        side: `sound`, `picture`, `text` or `sound_text`.
        run: names the run, so that no process takes features that were opened for another one.
    """

    corpus: str
    config: AvlNetConfig
    side: str
    run: str

    def read(self, group: Sequence[Row]) -> Iterator[tuple[Row, Item]]:
        """Yields rows of one group with what the network is given."""
        item = self.side_rows().item
        return ((row, item(row.id)) for row in group)

    def side_rows(self) -> SideRows:
        """All rows of the side."""
        return _features(self.corpus, self.config, self.run).of(self.side)

    def part(self, rows: Sequence[Row]) -> FeatureReader:
        """The same: any process can read all features."""
        return self


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


class CorpusFeatures:
    """Opens the features that an AVLnet is given, and lists the rows of its sides.

    Args:
        corpus: whose clips and captions.
        config: of the encoder.
    """

    def __init__(self, corpus: str, config: AvlNetConfig) -> None:
        self._corpus, self._config = corpus, config
        self._read_together = lru_cache(READ_TOGETHER)(self._spectrogram)
        self._audio = FeatureRows(corpus, config.audio, "clips")
        self._video = [FeatureRows(corpus, encoder, "clips") for encoder in (config.features_2d, config.features_3d)]
        self._words = None if config.text is None else FeatureRows(corpus, config.text, "captions")
        self._clips = schemas.read_table(layout.table(corpus, "clips"), schemas.CLIPS)["clip_id"].to_list()
        self._sides: dict[str, SideRows] = {}

    def of(self, side: str) -> SideRows:
        """The rows of `sound`, `picture`, `text` or `sound_text`."""
        if side not in self._sides:
            self._sides[side] = getattr(self, f"_{side}_rows")()
        return self._sides[side]

    def _sound_rows(self) -> SideRows:
        audio = self._audio
        keys = [(clip, key) for clip in self._clips if (key := audio.key(clip)) is not None]
        return SideRows(_rows(keys), lambda id: (self._spectrogram(id),), [audio.fingerprint])

    def _picture_rows(self) -> SideRows:
        video = self._video
        clips = [clip for clip in self._clips if any(clip in features for features in video)]
        keys = [(clip, combined_key(*(features.key(clip) for features in video))) for clip in clips]
        fingerprints = [features.fingerprint for features in video]
        return SideRows(_rows(keys), lambda id: (clip_features(video, id),), fingerprints)

    def _text_rows(self) -> SideRows:
        words = self._opened_words()
        keys = [(caption, key) for caption in self._captions() if (key := words.key(caption)) is not None]
        return SideRows(_rows(keys), lambda id: (self._caption(id),), [words.fingerprint])

    def _sound_text_rows(self) -> SideRows:
        words, audio = self._opened_words(), self._audio
        wanted = {caption for caption in self._captions() if caption in words}
        pairs = schemas.read_table(layout.table(self._corpus, "pairs"), schemas.PAIRS)
        parts = {
            pair_id(clip, caption): (clip, caption)
            for clip, caption in pairs.select("clip_id", "caption_id").iter_rows()
            if clip in audio and caption in wanted
        }
        keys = [(id, combined_key(audio.key(clip), words.key(caption))) for id, (clip, caption) in parts.items()]

        def item(id: str) -> Item:
            clip, caption = parts[id]
            return self._read_together(clip), self._caption(caption)

        clips = {clip: number for number, clip in enumerate(dict.fromkeys(clip for clip, _ in parts.values()))}
        groups = np.array([clips[clip] for clip, _ in parts.values()], np.int64)  # a clip's texts are read together
        return SideRows(_rows(keys, groups), item, [audio.fingerprint, words.fingerprint])

    def _captions(self) -> list[str]:
        captions = schemas.read_table(layout.table(self._corpus, "captions"), schemas.CAPTIONS)
        if self._config.captions is not None:
            captions = captions.filter(pl.col("source").is_in(self._config.captions))
        return captions["caption_id"].to_list()

    def _spectrogram(self, clip: str) -> Spectrogram:
        spectrogram = clip_spectrogram(self._audio, clip, self._config.max_frames)
        return replace(spectrogram, key=self._audio.key(clip) or b"")

    def _caption(self, caption: str) -> Floats:
        return caption_words(self._opened_words(), caption, self._config.max_words)

    def _opened_words(self) -> FeatureRows:
        assert self._words is not None  # `FeatureSource` refuses an AVLnet-Text without word vectors
        return self._words


@lru_cache(1)
def _features(corpus: str, config: AvlNetConfig, run: str) -> CorpusFeatures:
    return CorpusFeatures(corpus, config)


def _rows(keys: list[tuple[str, bytes]], groups: NDArray[np.int64] | None = None) -> WantedRows:
    ids = pl.Series([id for id, _ in keys], dtype=pl.String)
    if groups is None:
        groups = np.arange(len(keys)) // ROWS_PER_GROUP
    return WantedRows(ids, pack_keys([key for _, key in keys]), groups, ids)
