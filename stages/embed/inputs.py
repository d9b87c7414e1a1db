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
from stages.embed.audio_video_reader import AudioVideoReader
from stages.embed.clips import Clip, clips_of
from stages.embed.embeddings import Embeddings
from stages.embed.encoder import AudioInput, AudioVideoInput, ClipInput, Encoder, items_of
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
        with_clips = any(items_of(tower) == "clips" for tower in encoder.towers)
        self.folders = [corpus_place(corpus).media] if with_clips else []
        self.embeddings: list[Embeddings] = []
        for tower in encoder.towers:
            fingerprint, identity = fingerprint_of(identity_of(encoder, tower), remember=remember)
            items, row_format = items_of(tower), encoder.row_format(tower)
            self.embeddings.append(Embeddings(corpus, name, items, fingerprint, identity, row_format, tower))

    def items(self, embeddings: Embeddings, problems: Problems) -> Items:
        """See `Source`."""
        if embeddings.modality == "captions":
            return self._captions()
        return self._clips(self.encoder.input_of(embeddings.name), problems)

    def load(self, embeddings: Embeddings, device: str | None, compiled: bool) -> TowerLoader:
        """See `Source`."""
        return TowerLoader(self.encoder, embeddings.name, embeddings.fingerprint, device, compiled)

    def _clips(self, clip_input: ClipInput, problems: Problems) -> Items:
        config = load_corpus(self.corpus)
        media = corpus_place(self.corpus).media
        audio = AudioStore(Store.default(), config.audio, media_kinds(self.corpus))
        if isinstance(clip_input, AudioVideoInput):  # what lacks a track has been reported by the towers of one
            spans, left_out = self._with_both()
            both = clips_of(spans[AUDIO], media), clips_of(spans[FRAMES], media)
            pairs = AudioVideoReader(clip_input, *both, audio, config.limits.max_pixels)
            note = f"{left_out} clips of media without extracted audio or video left out" if left_out else ""
            return Items(pairs.rows, pairs, note, both[1].seconds())
        modality = AUDIO if isinstance(clip_input, AudioInput) else FRAMES
        own, left_out = self._spans(modality, problems)
        clips = clips_of(own, media)
        reader = clip_reader(clip_input, clips, audio, config.limits.max_pixels)
        missing = "extracted audio" if modality == AUDIO else "video"
        note = f"{left_out} clips of media without {missing} left out" if left_out else ""
        return Items(reader.rows, reader, note, clips.seconds())

    def _spans(self, modality: str, problems: Problems | None = None) -> tuple[pl.DataFrame, int]:
        """The spans of clips whose media have a track, and how many clips are left out for lack of one."""
        corpus = self.corpus
        spans = schemas.read_table(layout.table(corpus, "spans"), schemas.SPANS, pl.col("modality") == modality)
        if modality == AUDIO:
            usable = schemas.read_table(layout.audio(corpus), schemas.AUDIO)["media_id"]  # the rest has been reported
        else:
            media = schemas.read_table(layout.table(corpus, "media"), schemas.MEDIA)
            usable = media.filter("has_video")["media_id"]
            without_video = ~pl.col("has_video") & pl.col("media_id").is_in(spans["media_id"].implode())
            if problems is not None:
                for medium in media.filter(without_video).iter_rows(named=True):
                    problems.add(medium["media_id"], medium["path"], "no video track")
        left_out = spans.filter(~pl.col("media_id").is_in(usable.implode()))["clip_id"].unique()
        if len(left_out):
            spans = spans.filter(~pl.col("clip_id").is_in(left_out.implode()))
        return spans, len(left_out)

    def _with_both(self) -> tuple[dict[str, pl.DataFrame], int]:
        """The spans of clips that have audio and video, in one order of clips; how many clips are left out."""
        spans = {modality: self._spans(modality)[0] for modality in (AUDIO, FRAMES)}
        clips = schemas.read_table(layout.table(self.corpus, "clips"), schemas.CLIPS)["clip_id"]
        order = clips.to_frame().with_row_index("order")
        for some in spans.values():
            order = order.join(some.select("clip_id"), on="clip_id", how="semi")
        ordered = {
            modality: some.join(order, on="clip_id").sort("order", maintain_order=True).drop("order")
            for modality, some in spans.items()
        }
        return ordered, len(clips) - len(order)

    def _captions(self) -> Items:
        table = read_extended(self.corpus, "captions")
        keys, no_path = caption_keys(table["text"]), pl.repeat("", len(table), eager=True)
        rows = WantedRows(table["caption_id"], keys, np.arange(len(table)) // CAPTIONS_TOGETHER, no_path)
        return Items(rows, CaptionReader(keys, table["text"]), workers=1)


def clip_reader(
    clip_input: ClipInput, clips: Sequence[Clip], audio: AudioStore, max_pixels: int = DEFAULT.max_pixels
) -> AudioReader | FrameReader | AudioVideoReader:
    """The reader that a clip tower needs.

    Args:
        clip_input: what the tower is given.
        clips: the clips, in the order of their rows; of a tower of audio and frames, both are in the same spans.
        audio: where extracted audio is, and which kinds media are of.
        max_pixels: of a frame.
    """
    if isinstance(clip_input, AudioInput):
        return AudioReader(clip_input.sample_rate, clips, audio)
    if isinstance(clip_input, AudioVideoInput):
        return AudioVideoReader(clip_input, clips, clips, audio, max_pixels)
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
