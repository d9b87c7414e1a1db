"""Batches: the order of the clips, their random draws, and items stacked ahead of the network."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.networks.avlnet_inputs import Floats, Spectrogram

T = TypeVar("T")
AHEAD = 2
"""Batches that are ready or being made while the network works on another."""


@dataclass(frozen=True, eq=False)
class Item:
    """Input of the network: a clip, or a segment of it.

    Attributes:
        video: float32 (video_dim,).
        audio: padded spectrogram.
        text: float32 (max_words, word_dim) of the variants with text.
    """

    video: Floats
    audio: Spectrogram
    text: Floats | None


@dataclass(frozen=True, eq=False)
class Batch:
    """Items stacked.

    Attributes:
        video: float32 (n, video_dim).
        audio: float32 (n, frames, 40).
        n_frames: int64 (n,).
        text: float32 (n, max_words, word_dim) of the variants with text.
    """

    video: Tensor
    audio: Tensor
    n_frames: Tensor
    text: Tensor | None

    @classmethod
    def of(cls, rows: Sequence[Item], pin: bool = False) -> Batch:
        """Stacks items, in pinned memory if wanted."""

        def stacked(parts: Sequence[NDArray[np.float32]]) -> Tensor:
            out = torch.empty((len(parts), *parts[0].shape), pin_memory=pin)
            np.stack(parts, out=out.numpy())
            return out

        texts = [row.text for row in rows if row.text is not None]
        return cls(
            stacked([row.video for row in rows]),
            stacked([row.audio.frames for row in rows]),
            torch.tensor([row.audio.n_frames for row in rows]),
            stacked(texts) if texts else None,
        )

    def __len__(self) -> int:
        return len(self.video)

    def inputs(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """The arguments of `AvlNet.forward`."""
        video, audio, n_frames = (
            tensor.to(device, non_blocking=True) for tensor in (self.video, self.audio, self.n_frames)
        )
        text = None if self.text is None else self.text.to(device, non_blocking=True)
        return video, audio.transpose(1, 2), n_frames, text


def order(n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The clips 0..n-1 in the order of an epoch; it follows from the seed and the epoch alone."""
    return np.random.default_rng([seed, epoch]).permutation(n)


def draws(seed: int, epoch: int, clip: int) -> np.random.Generator:
    """Random draws for a clip in an epoch: the same in whichever process or after whichever restart."""
    return np.random.default_rng([seed, epoch, clip])


def share(batch: NDArray[np.int64], rank: int, processes: int, parts: int) -> list[NDArray[np.int64]]:
    """The share of a process in each part of a batch; the parts are the same for any number of processes."""
    return [np.array_split(part, processes)[rank] for part in np.array_split(batch, parts)]


def prefetched(make: Callable[[T], Batch], jobs: Sequence[T]) -> Iterator[Batch]:
    """The batches of the jobs in order; a thread makes the next ones meanwhile."""
    pending: deque[Future[Batch]] = deque()
    with ThreadPoolExecutor(1, "prefetch") as thread:
        try:
            for job in jobs:
                pending.append(thread.submit(make, job))
                if len(pending) > AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for batch in pending:
                batch.cancel()


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
        """The batch of each part, prefetched."""
        return prefetched(lambda part: self.read(part.tolist(), items_of), parts)

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)
