"""Retrieval of a network on the clips kept for evaluation."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.networks.avlnet import AvlNet
from stages.avlnet.retrieval import SIDES, both_directions
from stages.train.batches import BatchReader
from stages.train.config import TrainingConfig
from stages.train.features import CachedFeatures
from stages.train.step import autocast

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
