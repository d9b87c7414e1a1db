"""What an encoder embeds of a corpus: the rows of its clips and captions, and the readers of their items."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl

from cache import tables as schemas
from cache.keys import KeyIndex, Keys, caption_keys, pack_keys
from cache.location import Store
from pipeline.checkpoints.fingerprints import fingerprint_of
from pipeline.config import layout
from pipeline.config.corpus import load_corpus
from pipeline.config.params import corpus_place
from pipeline.config.subsets import media_kinds, read_extended
from pipeline.media.audio_store import AudioStore
from pipeline.media.containers import DEFAULT
from pipeline.monitor.problems import Problems
from pipeline.runner.rows import Row, WantedRows, taken
from pipeline.runner.run import Load, Reader
from stages.embed.audio_reader import AudioReader
from stages.embed.clips import Clip, clips_of
from stages.embed.embeddings import Embeddings
from stages.embed.encoder import AudioInput, ClipInput, Encoder
from stages.embed.frame_reader import FrameReader
from stages.embed.towers import TowerLoader, identity_of

CAPTIONS_TOGETHER = 1024
"""Captions that are read at a time, and that a worker of a cluster is given at least."""

AUDIO, FRAMES = "sound", "picture"
"""ItemKind of the rows of the spans table."""


@dataclass(frozen=True)
class Items:
    """Clips or captions to embed.

    Attributes:
        rows: all wanted rows, in table order.
        reader: reads their items.
        note: for the summary.
        seconds: of audio or video in each row, float64 (n,), where rows are of any.
        workers: reading threads, where more are of no use.
    """

    rows: WantedRows
    reader: Reader
    note: str = ""
    seconds: np.ndarray | None = None
    workers: int | None = None


class Source(Protocol):
    """What an encoder embeds of a corpus."""

    @property
    def embeddings(self) -> Sequence[Embeddings]:
        """The artifacts to make."""

    @property
    def folders(self) -> Sequence[Path]:
        """What the workers of a cluster must see."""

    def items(self, embeddings: Embeddings, problems: Problems) -> Items:
        """The rows of one artifact; what has none is added to the problems."""

    def load(self, embeddings: Embeddings, device: str | None, compiled: bool) -> Load:
        """Loads the tower of one artifact."""


class MediaSource:
    """Clips and captions of a corpus, for an encoder of media and text.

    Args:
        corpus: a corpus of params.yaml.
        name: of the encoder.
        encoder: from `load_encoder`.
        remember: keep the digests of its files for later runs.

    Raises:
        UserError: a file of the encoder is missing, or there is no such corpus.
    """

    def __init__(self, corpus: str, name: str, encoder: Encoder, remember: bool = True) -> None:
        self.corpus, self.encoder = corpus, encoder
        self.folders = [corpus_place(corpus).media] if "clips" in encoder.towers else []
        self.embeddings: list[Embeddings] = []
        for modality in encoder.towers:
            fingerprint, identity = fingerprint_of(identity_of(encoder, modality), remember=remember)
            row_format = encoder.row_format(modality)
            self.embeddings.append(Embeddings(corpus, name, modality, fingerprint, identity, row_format))

    def items(self, embeddings: Embeddings, problems: Problems) -> Items:
        """See `Source`."""
        return self._clips(problems) if embeddings.modality == "clips" else self._captions()

    def load(self, embeddings: Embeddings, device: str | None, compiled: bool) -> TowerLoader:
        """See `Source`."""
        return TowerLoader(self.encoder, embeddings.modality, embeddings.fingerprint, device, compiled)

    def _clips(self, problems: Problems) -> Items:
        corpus, clip_input = self.corpus, self.encoder.clip_input
        config, modality = load_corpus(corpus), AUDIO if isinstance(clip_input, AudioInput) else FRAMES
        spans = schemas.read_table(layout.table(corpus, "spans"), schemas.SPANS, pl.col("modality") == modality)
        if modality == AUDIO:
            usable = schemas.read_table(layout.audio(corpus), schemas.AUDIO)["media_id"]  # the rest has been reported
        else:
            media = schemas.read_table(layout.table(corpus, "media"), schemas.MEDIA)
            usable = media.filter("has_video")["media_id"]
            without_video = ~pl.col("has_video") & pl.col("media_id").is_in(spans["media_id"].implode())
            for medium in media.filter(without_video).iter_rows(named=True):
                problems.add(medium["media_id"], medium["path"], "no video track")
        left_out = spans.filter(~pl.col("media_id").is_in(usable.implode()))["clip_id"].unique()
        if len(left_out):
            spans = spans.filter(~pl.col("clip_id").is_in(left_out.implode()))
        clips = clips_of(spans, corpus_place(corpus).media)
        audio = AudioStore(Store.default(), config.audio, media_kinds(corpus))
        reader = clip_reader(clip_input, clips, audio, config.limits.max_pixels)
        missing = "extracted audio" if modality == AUDIO else "video"
        note = f"{len(left_out)} clips of media without {missing} left out" if len(left_out) else ""
        return Items(reader.rows, reader, note, clips.seconds())

    def _captions(self) -> Items:
        table = read_extended(self.corpus, "captions")
        keys, no_path = caption_keys(table["text"]), pl.repeat("", len(table), eager=True)
        rows = WantedRows(table["caption_id"], keys, np.arange(len(table)) // CAPTIONS_TOGETHER, no_path)
        return Items(rows, CaptionReader(keys, table["text"]), workers=1)


def clip_reader(
    clip_input: ClipInput, clips: Sequence[Clip], audio: AudioStore, max_pixels: int = DEFAULT.max_pixels
) -> AudioReader | FrameReader:
    """The reader that a clip tower needs.

    Args:
        clip_input: what the tower is given.
        clips: the clips, in the order of their rows.
        audio: where extracted audio is, and which kinds media are of.
        max_pixels: of a frame.
    """
    if isinstance(clip_input, AudioInput):
        return AudioReader(clip_input.sample_rate, clips, audio)
    return FrameReader(clip_input, clips, audio.kinds, max_pixels)


class CaptionReader:
    """Texts by row key.

    Args:
        keys: uint8 (n, 16).
        texts: n captions.
    """

    def __init__(self, keys: Keys, texts: pl.Series) -> None:
        self._keys, self._texts = pack_keys(keys), texts

    @cached_property
    def _index(self) -> KeyIndex:
        return KeyIndex([self._keys])

    def _texts_of(self, rows: Sequence[Row]) -> pl.Series:
        return taken(self._texts, self._index.find([row.key for row in rows]))

    def read(self, group: Sequence[Row]) -> Iterator[tuple[Row, str]]:
        """See `Reader`."""
        return zip(group, self._texts_of(group), strict=True)

    def part(self, rows: Sequence[Row]) -> CaptionReader:
        """See `Reader`."""
        return CaptionReader([row.key for row in rows], self._texts_of(rows))
