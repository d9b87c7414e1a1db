"""A network that will only be evaluated onto the device where it stays."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from stages.embed.models.packed_conv import pack_convolutions
from stages.embed.models.packed_linear import PackedLinear, can_pack

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
