"""Cached features of the clips to train on, read row by row from artifacts: never a whole cache in memory."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from cache import tables as schemas
from cache.keys import combined_key
from pipeline.config import layout
from pipeline.config.subsets import read_subset
from pipeline.networks import avlnet_inputs as items
from pipeline.networks.avlnet_inputs import Floats, caption_words, clip_features, clip_spectrogram
from pipeline.networks.avlnet_shape import WORD_DIM
from pipeline.runner.features import FeatureRows
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
    sound: items.Spectrogram
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
        sound = clip_spectrogram(self._sound, clip, self._config.max_frames)
        return Item(clip_features(self._pictures, clip), sound, words)

    def _window(self, clip: str, window: items.Window) -> Item:
        spectrogram = self._sound.part(clip, *window.sound)
        picture = clip_features(self._pictures, clip, window)
        return Item(picture, items.padded_spectrogram(spectrogram, window.n_frames), None)


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


T = TypeVar("T")
AHEAD = 2
"""Batches that are ready or in the making while the network works on another."""


@dataclass(frozen=True, eq=False)
class Batch:
    """What the network is given.

    Attributes:
        picture: float32 (n, picture_dim).
        sound: float32 (n, frames, 40).
        n_frames: int64 (n,).
        words: float32 (n, max_words, word_dim) of the variants with text.
    """

    picture: Tensor
    sound: Tensor
    n_frames: Tensor
    words: Tensor | None

    @classmethod
    def of(cls, rows: Sequence[Item], pin: bool = False) -> Batch:
        """Stacks items, in pinned memory if wanted."""

        def stacked(parts: Sequence[NDArray[np.float32]]) -> Tensor:
            out = torch.empty((len(parts), *parts[0].shape), pin_memory=pin)
            np.stack(parts, out=out.numpy())
            return out

        words = [row.words for row in rows if row.words is not None]
        return cls(
            stacked([row.picture for row in rows]),
            stacked([row.sound.frames for row in rows]),
            torch.tensor([row.sound.n_frames for row in rows]),
            stacked(words) if words else None,
        )

    def __len__(self) -> int:
        return len(self.picture)

    def inputs(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """The arguments of `AvlNet.forward`."""
        moved = [
            None if one is None else one.to(device, non_blocking=True)
            for one in (self.picture, self.sound, self.n_frames, self.words)
        ]
        picture, sound, n_frames, words = moved
        assert picture is not None and sound is not None and n_frames is not None
        return picture, sound.transpose(1, 2), n_frames, words


def order(n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The clips 0..n-1 in the order of an epoch; it follows from the seed and the epoch alone."""
    return np.random.default_rng([seed, epoch]).permutation(n)


def draws(seed: int, epoch: int, clip: int) -> np.random.Generator:
    """Random draws for a clip in an epoch: the same in whichever process or after whichever restart."""
    return np.random.default_rng([seed, epoch, clip])


def share(batch: NDArray[np.int64], rank: int, processes: int, parts: int) -> list[NDArray[np.int64]]:
    """What one of several processes takes of each part of a batch: its parts are the same whatever the processes."""
    return [np.array_split(part, processes)[rank] for part in np.array_split(batch, parts)]


def read_ahead(make: Callable[[T], Batch], jobs: Sequence[T]) -> Iterator[Batch]:
    """The batches of the jobs in order; a thread makes the next ones meanwhile."""
    ready: queue.Queue[Batch | BaseException | None] = queue.Queue(AHEAD)
    stop = threading.Event()

    def put(one: Batch | BaseException | None) -> bool:
        while not stop.is_set():
            try:
                ready.put(one, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for job in jobs:
                if stop.is_set() or not put(make(job)):
                    return
            put(None)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=work, name="read-ahead", daemon=True)
    thread.start()
    try:
        while (one := ready.get()) is not None:
            if isinstance(one, BaseException):
                raise one
            yield one
    finally:
        stop.set()
        thread.join()


class BatchReader:
    """Reads items in threads and stacks them.

    Args:
        workers: threads.
        pin: whether batches lie in pinned memory, for a GPU.
    """

    def __init__(self, workers: int, pin: bool = False) -> None:
        self._pool = ThreadPoolExecutor(workers, "read-items")
        self._pin = pin

    def read(self, jobs: Sequence[T], items_of: Callable[[T], Sequence[Item]]) -> Batch:
        """One batch of all items of the jobs."""
        return Batch.of([item for rows in self._pool.map(items_of, jobs) for item in rows], self._pin)

    def batches(self, parts: Sequence[NDArray[np.int64]], items_of: Callable[[int], Sequence[Item]]) -> Iterator[Batch]:
        """The batch of each part, read ahead."""
        return read_ahead(lambda part: self.read(part.tolist(), items_of), parts)

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)
