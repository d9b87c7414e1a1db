"""Batch normalisation over the batch of all processes, on any device (PyTorch's own needs GPUs)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """`BatchNorm2d` whose statistics in training are those of the global batch; alone it is `BatchNorm2d` itself.

    Each process must bring the same number of values per channel.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalises (batch, channels, height, width)."""
        if not (self.training and _processes() > 1):
            return super().forward(x)
        wide = x.float()
        mean = all_reduce(wide.mean((0, 2, 3))) / _processes()
        centred = wide - mean[:, None, None]
        variance = all_reduce(centred.square().mean((0, 2, 3))) / _processes()
        n = x.numel() // x.shape[1] * _processes()
        self._remember(mean.detach(), variance.detach() * (n / max(1, n - 1)))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None
        _count(self).add_(1)
        self.running_mean.lerp_(mean, self.momentum or 0.0)
        self.running_var.lerp_(variance, self.momentum or 0.0)


@contextmanager
def statistics_kept(net: nn.Module) -> Iterator[None]:
    """Leaves the running statistics as they are, whatever the network is given inside."""
    layers = [one for one in net.modules() if isinstance(one, GlobalBatchNorm2d)]
    before = [(layer.momentum, int(_count(layer))) for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, (momentum, count) in zip(layers, before, strict=True):
            layer.momentum = momentum
            _count(layer).fill_(count)


def _count(layer: GlobalBatchNorm2d) -> Tensor:
    assert layer.num_batches_tracked is not None
    return layer.num_batches_tracked


def _processes() -> int:
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
