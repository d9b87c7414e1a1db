"""Masked margin softmax between the sides of a batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from pipeline.networks.avlnet_shape import MARGIN, Objective


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


def avlnet_loss(sides: tuple[Tensor, ...], objective: Objective = "pairs", margin: float = MARGIN) -> Tensor:
    """The loss of a batch.

    Args:
        sides: what `AvlNet.forward` gives: two or three (batch, dim).
        objective: `pairs` compares each side with each other; `text-to-sum` the text with the sum of sound and
            picture, as AVLnet-Text-Tri is fine-tuned.
        margin: of the softmax.
    """
    if objective == "text-to-sum":
        sound, picture, text = sides
        return masked_margin_softmax(text @ (sound + picture).T, margin)
    pairs = [(0, 1)] if len(sides) == 2 else [(0, 1), (0, 2), (2, 1)]
    losses = [masked_margin_softmax(sides[a] @ sides[b].T, margin) for a, b in pairs]
    return torch.stack(losses).sum()
