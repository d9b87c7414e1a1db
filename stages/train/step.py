"""One step of training: the loss of the batch of all processes, whatever its parts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.networks.avlnet import AvlNet, statistics_kept
from pipeline.networks.avlnet_retrieval import SIDES, both_directions
from stages.train.config import TrainingConfig
from stages.train.features import Batch, BatchReader, CachedFeatures
from stages.train.loss import avlnet_loss
from stages.train.processes import Processes

TYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Stepper:
    """Computes gradients and updates the weights.

    The embeddings of all processes are gathered, each process takes the gradient of the global loss with respect to
    its own, sends that back through its network, and the gradients of the weights are added up. So the result is that
    of one process with the whole batch (batch normalisation included, see `GlobalBatchNorm2d`). A batch in several
    parts (micro-batches) is embedded twice, first for the loss and then for its gradient, so that every part has the
    negatives of the whole batch. Only batch normalisation in mode `train`, which sees a part at a time, makes that
    differ from the whole: it is what the original's DataParallel computes on as many GPUs, where the running statistics
    are those of the first.

    Args:
        net: the network, on the device.
        config: of the training.
        processes: this process among others.

    Attributes:
        optimizer: Adam.
        scaler: of gradients in fp16.
    """

    def __init__(self, net: AvlNet, config: TrainingConfig, processes: Processes) -> None:
        self._net, self._config, self._processes = net, config, processes
        self.optimizer = torch.optim.Adam(net.parameters(), config.lr)
        self.scaler = torch.amp.GradScaler(processes.device.type, enabled=config.precision == "fp16")

    def step(self, parts: Sequence[Batch]) -> Tensor:
        """Learns from one batch.

        Args:
            parts: this process's share of it.

        Returns:
            The loss of the global batch, a scalar.
        """
        self.optimizer.zero_grad()
        if len(parts) == 1:
            sides = self._embed(parts[0])
        else:
            with torch.no_grad(), statistics_kept(self._net):
                embedded = [self._embed(part) for part in parts]
            sides = tuple(torch.cat(rows) for rows in zip(*embedded, strict=True))
        leaves = tuple(self._processes.gathered(side.detach()).requires_grad_() for side in sides)
        loss = avlnet_loss(leaves, self._config.objective, self._config.margin)
        self.scaler.scale(loss).backward()
        gradients = [self._processes.mine(leaf.grad) for leaf in leaves if leaf.grad is not None]
        if len(parts) == 1:
            torch.autograd.backward(sides, gradients)
        else:
            start = 0
            for part in parts:
                n = len(part)
                with statistics_kept(self._net) if start else nullcontext():
                    torch.autograd.backward(self._embed(part), [one[start : start + n] for one in gradients])
                start += n
        self._processes.add_gradients(list(self._net.parameters()))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.detach()

    def decay(self) -> None:
        """Lowers the learning rate at the end of an epoch."""
        for group in self.optimizer.param_groups:
            group["lr"] *= self._config.lr_decay

    def _embed(self, batch: Batch) -> tuple[Tensor, ...]:
        with autocast(self._processes.device, self._config.precision):
            sides = self._net(*batch.inputs(self._processes.device))
        return tuple(side.float() for side in sides)


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Mixed precision, or none."""
    return torch.autocast(device.type, TYPES[precision], enabled=precision != "float32")


MAX_BATCH = 64


def evaluate(
    net: AvlNet, config: TrainingConfig, features: CachedFeatures, reader: BatchReader, device: torch.device
) -> dict[str, dict[str, float]]:
    """Recall and median rank in both directions, over all clips at once.

    Returns:
        direction -> metric -> value.
    """
    sides = embedded(net, config, features, reader, device)
    queries, items = (np.sum([sides[one] for one in group], axis=0) for group in SIDES[config.variant])
    return both_directions(queries @ items.T, config.variant, config.evaluation_count)


@torch.no_grad()
def embedded(
    net: AvlNet, config: TrainingConfig, features: CachedFeatures, reader: BatchReader, device: torch.device
) -> dict[str, NDArray[np.float32]]:
    """The sides of all clips, each float32 (clips, dim)."""
    training = net.training
    net.eval()
    size = min(MAX_BATCH, config.batch_size)
    parts = np.array_split(np.arange(len(features)), max(1, -(-len(features) // size)))
    rows: list[tuple[torch.Tensor, ...]] = []
    for batch in reader.batches(parts, lambda i: [features.evaluation_item(i)]):
        with autocast(device, config.precision):
            rows.append(tuple(side.float().cpu() for side in net(*batch.inputs(device))))
    net.train(training)
    return {name: torch.cat(side).numpy() for name, side in zip(net.shape.sides, zip(*rows, strict=True), strict=True)}
