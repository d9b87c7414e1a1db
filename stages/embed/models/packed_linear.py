"""Linear layers with weights packed for oneDNN: the fast way to multiply in float32 on a CPU.

PyTorch multiplies by MKL, which leaves half of an AMD processor with AVX-512 unused (109 against 249 GFLOP/s per core
on a Zen 5). oneDNN does not, and, given weights in the order that it likes, does not reorder them in every call.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Activation = Literal["none", "gelu", "relu"]


class PackedLinear(nn.Module):
    """A `torch.nn.Linear` for evaluation, with an activation that costs no pass of its own.

    On another device than the CPU, in another type than float32, or in a build of PyTorch without oneDNN it does what
    `torch.nn.functional.linear` does.

    Args:
        weight: (outputs, inputs).
        bias: (outputs,) or None.
        activation: applied to the output.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: Activation = "none") -> None:
        super().__init__()
        self._activation, self._packed = activation, False
        self.register_buffer("weight", weight.detach())
        self.register_buffer("bias", None if bias is None else bias.detach())

    @classmethod
    def of(cls, layer: nn.Linear, activation: Activation = "none") -> PackedLinear:
        """The same layer, its weights shared until they are packed."""
        return cls(layer.weight, layer.bias, activation)

    def pack(self) -> None:
        """Reorders the weights, if this device and build can use that; do it once the layer is where it stays."""
        if not self._packed and self.weight.device.type == "cpu" and can_pack(self.weight.dtype):
            self.weight = torch.ops.mkldnn._reorder_linear_weight(self.weight.contiguous())
            self._packed = True

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) to (..., outputs)."""
        if self._packed:  # in float32 under autocast too, whatever the layer before it gave
            return _multiplied(x.float(), self.weight, self.bias, self._activation)
        x = functional.linear(x, self.weight, self.bias)
        return x if self._activation == "none" else getattr(functional, self._activation)(x)


@torch.compiler.disable  # inductor takes packed weights of its own making only
def _multiplied(x: Tensor, weight: Tensor, bias: Tensor | None, activation: Activation) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, activation, [], "none")
    return product


def can_pack(dtype: torch.dtype = torch.float32) -> bool:
    """Whether this build of PyTorch multiplies packed weights of that type."""
    names = ("_reorder_linear_weight", "_linear_pointwise")
    offered = torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in names)
    return offered and dtype == torch.float32
