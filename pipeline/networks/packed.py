"""Layers packed for oneDNN on a CPU, and how a network is put onto the device where it stays.

Linear layers: PyTorch multiplies by MKL, which leaves half of an AMD processor with AVX-512 unused (109 against 249
GFLOP/s per core on a Zen 5; on Intel both give the same). Convolutions: the batch normalisation and ReLU after one are
computed in the same pass, and neither weights nor pixels are reordered in each call. `benchmarks/encoders/kernels.py`
measures both.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

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


def _multiplied(x: Tensor, weight: Tensor, bias: Tensor | None, activation: Activation) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, activation, [], "none")
    return product


def can_pack(dtype: torch.dtype = torch.float32) -> bool:
    """Whether this build of PyTorch multiplies packed weights of that type."""
    names = ("_reorder_linear_weight", "_linear_pointwise")
    offered = torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in names)
    return offered and dtype == torch.float32


NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding: ceil(size / stride) outputs, the odd zero behind."""

    @classmethod
    def of(cls, conv: nn.Conv2d) -> SameConv2d:
        """The same layer with this padding, its weights shared."""
        same = cls(conv.in_channels, conv.out_channels, 1, groups=conv.groups, bias=conv.bias is not None)
        same.kernel_size, same.stride = conv.kernel_size, conv.stride
        same.weight, same.bias = conv.weight, conv.bias
        return same

    def forward(self, input: Tensor) -> Tensor:
        """(n, inputs, height, width) to (n, outputs, ...)."""
        return super().forward(self.padded(input))

    def padded(self, x: Tensor) -> Tensor:
        """The input with its zeros."""
        around: list[int] = []
        for size, kernel, stride in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            zeros = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            around += [zeros // 2, zeros - zeros // 2]
        return functional.pad(x, around) if any(around) else x


class PackedConv(nn.Module):
    """A convolution for evaluation on a CPU in float32; one of 1 x 1 is a product of matrices, once it is packed.

    Args:
        conv: with its weights.
        norm: the normalisation of its outputs, in evaluation mode.
        relu: whether negative outputs become 0 in the end.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, conv: Any, norm: Any = None, relu: bool = False) -> None:
        super().__init__()
        self._padded = conv.padded if isinstance(conv, SameConv2d) else None
        padding = [0] * len(conv.stride) if conv.padding == "valid" else list(conv.padding)
        self._shape = padding, list(conv.stride), list(conv.dilation), conv.groups
        self._order = torch.channels_last if conv.weight.ndim == 4 else torch.channels_last_3d
        weight, bias = conv.weight.detach(), None if conv.bias is None else conv.bias.detach()
        if norm is not None:
            scale = (norm.running_var + norm.eps).rsqrt()
            scale = scale if norm.weight is None else scale * norm.weight.detach()
            bias = ((0 if bias is None else bias) - norm.running_mean) * scale
            bias = bias if norm.bias is None else bias + norm.bias.detach()
            weight = weight * scale.view(-1, *[1] * (weight.ndim - 1))
        self._activation: Activation = "relu" if relu else "none"
        self._steps = tuple(slice(None, None, step) for step in (1, 1, *conv.stride))
        self.linear: PackedLinear | None = None
        if conv.groups == 1 and set(conv.kernel_size) == {1} and not any(padding):
            self.linear = PackedLinear(weight.flatten(1), bias, self._activation)
        else:
            self.register_buffer("weight", torch.ops.mkldnn._reorder_convolution_weight(weight, *self._shape))
            self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, ...) to (n, outputs, ...), channels last in memory."""
        if self.linear is not None:
            return self.linear(x[self._steps].movedim(1, -1).contiguous()).movedim(-1, 1)
        x = x.float() if self._padded is None else self._padded(x.float())
        return _convolved(
            x.contiguous(memory_format=self._order), self.weight, self.bias, *self._shape, self._activation
        )


def _convolved(x: Tensor, weight: Tensor, bias: Tensor | None, *how: Any) -> Tensor:
    result: Tensor = torch.ops.mkldnn._convolution_pointwise(x, weight, bias, *how, [], None)
    return result


def pack_convolutions(model: nn.Module) -> None:
    """Replaces the convolutions of a model, in place, each with the normalisation and the ReLU right after it.

    A normalisation that a module has registered right after a convolution has to be the one that it applies to it, as
    in ResNets, MobileNets and EfficientNets; likewise ReLU in a `Sequential`.
    """
    children = list(model.named_children())
    for index, (name, child) in enumerate(children):
        if type(child) not in (nn.Conv2d, nn.Conv3d, SameConv2d):
            pack_convolutions(child)
            continue
        if child.padding == "same" or child.padding_mode != "zeros":
            continue
        after = [*children[index + 1 :], ("", None), ("", None)]
        norm = after[0][1] if isinstance(after[0][1], NORMS) else None
        relu = isinstance(model, nn.Sequential) and type(after[norm is not None][1]) is nn.ReLU
        setattr(model, name, PackedConv(child, norm, relu))
        if norm is not None:
            setattr(model, after[0][0], getattr(norm, "act", None) or nn.Identity())
        if relu:
            setattr(model, after[norm is not None][0], nn.Identity())


Model = TypeVar("Model", bound=nn.Module)


def place(model: Model, device: torch.device) -> Model:
    """Moves a model onto a device; on a CPU, packs its linear layers and convolutions for good.

    What a packed layer computes moves by rounding only; nothing but its parent may use its weights any more.
    """
    model.to(device)
    if device.type == "cpu" and can_pack():
        pack_convolutions(model)
        _replace(model)
        for layer in model.modules():
            if isinstance(layer, PackedLinear):
                layer.pack()
    return model.eval().requires_grad_(False)


def _replace(model: nn.Module) -> None:
    for name, child in model.named_children():
        if type(child) is nn.Linear:
            setattr(model, name, PackedLinear.of(child))
        else:
            _replace(child)


def compile_network(network: nn.Module, **options: Any) -> None:
    """Runs a network through torch.compile, in place, except for packed layers.

    Inductor takes packed weights of its own making only. The functions are wrapped here and not where they are defined,
    because that alone would import the compiler.

    Args:
        network: as `place` returned it.
        **options: of `torch.compile`.
    """
    global _multiplied, _convolved
    _multiplied, _convolved = torch.compiler.disable(_multiplied), torch.compiler.disable(_convolved)
    network.compile(**options)
