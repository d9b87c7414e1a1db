"""The loop of a training: evaluate, an epoch of steps, save; again."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from cache.errors import UserError
from pipeline.monitor.progress import progress as shown
from pipeline.monitor.signals import deferred, stop_requested
from pipeline.monitor.summary import Summary
from pipeline.networks.avlnet import AvlNet
from stages.train.batches import BatchReader, Item, draws, order, share
from stages.train.config import TrainingConfig
from stages.train.features import CachedFeatures, Features
from stages.train.processes import Processes
from stages.train.saved import Evaluation, KeptEpochs, Progress, SavedProgress
from stages.train.step import Stepper, evaluate

LOSSES_AT_ONCE = 20
"""Steps whose losses are fetched from the device together: fetching waits for it."""


class Observer(Protocol):
    """Called with losses and retrieval as they come."""

    def losses(self, losses: list[float]) -> None:
        """Losses of the next steps."""

    def evaluation(self, evaluation: Evaluation) -> None:
        """Retrieval at this step."""


@dataclass(frozen=True)
class TrainingData:
    """The data of a training, and who reads it.

    Attributes:
        config: of the training.
        features: to train on.
        evaluated: to evaluate on, if anything.
        reader: of batches.
        processes: this process among others.
    """

    config: TrainingConfig
    features: Features
    evaluated: CachedFeatures | None
    reader: BatchReader
    processes: Processes

    @property
    def steps_per_epoch(self) -> int:
        """Full batches of an epoch.

        Raises:
            UserError: there is none, or a batch cannot be divided.
        """
        config, n = self.config, len(self.features)
        shares = config.accumulate * self.processes.count
        if config.batch_size % shares:
            raise UserError(
                f"batch_size {config.batch_size} cannot be divided into {shares} parts: change one of them."
            )
        if n < config.batch_size:
            clips = f"clips of {config.corpus!r} (subset {config.train_on or 'all'})"
            source = clips if config.files is None else f"videos of {config.files.paths}"
            raise UserError(
                f"Of the {source} {n} can be trained on, fewer than batch_size {config.batch_size}: make that smaller."
            )
        return n // config.batch_size


def train(
    net: AvlNet,
    stepper: Stepper,
    data: TrainingData,
    saved: SavedProgress,
    kept: KeptEpochs,
    progress: Progress,
    observer: Observer,
    summary: Summary,
    save_every_s: float,
) -> None:
    """Goes on from `progress` to the end of the last epoch.

    Args:
        net: the network, in the state of `progress`.
        stepper: likewise.
        data: clips and settings.
        saved: where the state is kept.
        kept: where the weights of epochs are kept.
        progress: what has been done; kept up to date.
        observer: called with losses and retrieval.
        summary: counters and times.
        save_every_s: seconds after which the state is saved within an epoch.
    """
    config, first = data.config, data.processes.rank == 0
    net.train(config.mode == "train")
    with shown(summary.label, config.epochs * data.steps_per_epoch, "steps") as advance:
        advance(len(progress.losses))
        while progress.epoch < config.epochs:
            if len(progress.evaluations) == progress.epoch:
                _evaluate(net, data, kept, progress, observer, summary)
            last_save = time.monotonic()
            with _between_steps(data.processes):
                for losses in _steps(stepper, data, progress, summary):
                    progress.losses += losses
                    progress.step += len(losses)
                    observer.losses(losses)
                    summary.computed += len(losses)
                    advance(len(losses))
                    due = progress.step < data.steps_per_epoch and time.monotonic() - last_save >= save_every_s
                    if first and (due or stop_requested()):
                        with summary.timed("save"):
                            saved.save(progress, net, stepper)
                        last_save = time.monotonic()
                    if stop_requested():
                        break
            stepper.decay()
            progress.epoch, progress.step = progress.epoch + 1, 0
            if first:
                with summary.timed("save"):
                    kept.epoch_done(progress.epoch, net)
                    saved.save(progress, net, stepper)
        if len(progress.evaluations) == config.epochs:
            _evaluate(net, data, kept, progress, observer, summary)


def _between_steps(processes: Processes) -> AbstractContextManager[None]:
    """An interruption takes effect after a step, whose state is saved; at once where other processes may have left."""
    return deferred() if processes.count == 1 else nullcontext()


def _evaluate(
    net: AvlNet, data: TrainingData, kept: KeptEpochs, progress: Progress, observer: Observer, summary: Summary
) -> None:
    found: Evaluation = {}
    if data.evaluated is not None and data.processes.rank == 0:
        with summary.timed("evaluate"):
            device = data.processes.device
            found = evaluate(net, data.config, data.evaluated, data.reader, device)
    data.processes.wait()
    progress.evaluations.append(found)
    if found:
        kept.evaluated(progress.evaluations, net)
    observer.evaluation(found)


def _steps(stepper: Stepper, data: TrainingData, progress: Progress, summary: Summary) -> Iterator[list[float]]:
    """What is left of an epoch; yields the losses of some steps at a time."""
    config, processes, epoch = data.config, data.processes, progress.epoch
    clips = order(len(data.features), config.seed, epoch)
    batches = [
        clips[step * config.batch_size : (step + 1) * config.batch_size]
        for step in range(progress.step, data.steps_per_epoch)
    ]
    parts = [part for batch in batches for part in share(batch, processes.rank, processes.count, config.accumulate)]

    def items_of(clip: int) -> Sequence[Item]:
        return data.features.training_items(clip, draws(config.seed, epoch, clip))

    read = data.reader.batches(parts, items_of)
    pending: list[Tensor] = []
    for i in range(len(batches)):
        with summary.timed("wait for data"):
            mine = [next(read) for _ in range(config.accumulate)]
        with summary.timed("step"):
            pending.append(stepper.step(mine))
        if len(pending) == LOSSES_AT_ONCE or i + 1 == len(batches) or stop_requested():
            with summary.timed("step"):
                losses = torch.stack(pending).tolist()
            pending.clear()
            if not np.isfinite(losses).all():
                raise UserError(
                    f"The loss is no longer finite in epoch {epoch + 1}: lower lr, or take another precision."
                )
            yield losses
