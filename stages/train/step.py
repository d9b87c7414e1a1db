"""One step of training: the loss of the batch of all processes, and its gradient, whatever its parts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from pipeline.networks.avlnet import AvlNet, statistics_kept
from pipeline.networks.avlnet_retrieval import SIDES, both_directions
from pipeline.networks.avlnet_shape import MARGIN, Objective
from stages.train.batches import Batch, BatchReader
from stages.train.config import TrainingConfig
from stages.train.features import CachedFeatures
from stages.train.processes import Processes


def masked_margin_softmax(similarities: Tensor, margin: float = MARGIN) -> Tensor:
    """Cross-entropy of the diagonal over rows plus that over columns, each a mean over the batch.

    Args:
        similarities: (batch, batch), those that belong together on the diagonal.
        margin: taken off the diagonal.
    """
    n = len(similarities)
    similarities = similarities - margin * torch.eye(n, device=similarities.device, dtype=similarities.dtype)
    target = torch.arange(n, device=similarities.device)
    return cross_entropy(similarities, target) + cross_entropy(similarities.T, target)


def avlnet_loss(embeddings: tuple[Tensor, ...], objective: Objective = "pairs", margin: float = MARGIN) -> Tensor:
    """The loss of a batch.

    Args:
        embeddings: as of `AvlNet.forward`: two or three (batch, dim).
        objective: `pairs` compares each two of them; `text-to-sum` the text with the sum of audio and video, as
            AVLnet-Text-Tri is fine-tuned.
        margin: of the softmax.
    """
    if objective == "text-to-sum":
        audio, video, text = embeddings
        return masked_margin_softmax(text @ (audio + video).T, margin)
    pairs = [(0, 1)] if len(embeddings) == 2 else [(0, 1), (0, 2), (2, 1)]
    losses = [masked_margin_softmax(embeddings[a] @ embeddings[b].T, margin) for a, b in pairs]
    return torch.stack(losses).sum()


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
            embeddings = self._embed(parts[0])
        else:
            with torch.no_grad(), statistics_kept(self._net):
                parts_embedded = [self._embed(part) for part in parts]
            embeddings = tuple(torch.cat(rows) for rows in zip(*parts_embedded, strict=True))
        leaves = tuple(self._processes.gathered(rows.detach()).requires_grad_() for rows in embeddings)
        loss = avlnet_loss(leaves, self._config.objective, self._config.margin)
        self.scaler.scale(loss).backward()
        gradients = [self._processes.own(leaf.grad) for leaf in leaves if leaf.grad is not None]
        if len(parts) == 1:
            torch.autograd.backward(embeddings, gradients)
        else:
            start = 0
            for part in parts:
                n = len(part)
                with statistics_kept(self._net) if start else nullcontext():
                    torch.autograd.backward(self._embed(part), [gradient[start : start + n] for gradient in gradients])
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
            embeddings = self._net(*batch.inputs(self._processes.device))
        return tuple(rows.float() for rows in embeddings)


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
    embeddings = embedded(net, config, features, reader, device)
    queries, items = (np.sum([embeddings[name] for name in names], axis=0) for names in SIDES[config.variant])
    return both_directions(queries @ items.T, config.variant, config.evaluation_count)


@torch.no_grad()
def embedded(
    net: AvlNet, config: TrainingConfig, features: CachedFeatures, reader: BatchReader, device: torch.device
) -> dict[str, NDArray[np.float32]]:
    """The embeddings of all clips by `shape.sides`, each float32 (clips, dim)."""
    training = net.training
    net.eval()
    size = min(MAX_BATCH, config.batch_size)
    parts = np.array_split(np.arange(len(features)), max(1, -(-len(features) // size)))
    rows: list[tuple[torch.Tensor, ...]] = []
    for batch in reader.batches(parts, lambda i: [features.evaluation_item(i)]):
        with autocast(device, config.precision):
            rows.append(tuple(part.float().cpu() for part in net(*batch.inputs(device))))
    net.train(training)
    return {
        name: torch.cat(parts).numpy() for name, parts in zip(net.shape.sides, zip(*rows, strict=True), strict=True)
    }
