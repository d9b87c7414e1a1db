"""Batches of a training: which clips when, read ahead of the network by threads."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.train.features import Item

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
