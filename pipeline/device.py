"""Which device encodes."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from cache.errors import UserError

if TYPE_CHECKING:
    import torch

DEVICE_VARIABLE = "HEARONCE_DEVICE"


def pick_device(name: str | None = None) -> torch.device:
    """The device asked for by name or by `$HEARONCE_DEVICE`, else a GPU where there is one, else the CPU.

    Raises:
        UserError: that device is not here.
    """
    # Before torch loads its OpenMP: threads that wait by spinning make a shared machine several times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    name = name or os.environ.get(DEVICE_VARIABLE)
    if not name:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"Device {name!r} cannot be used ({str(error).splitlines()[0]}): try `cpu`.") from None
    return device


def describe(device: torch.device) -> dict[str, Any]:
    """Device and library versions, as provenance of the rows made with them."""
    import torch

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    packages = {package: version(package) for package in ("torch", "torchaudio", "transformers", "timm", "numpy", "av")}
    return {"device": f"{device.type}: {name}", "versions": {"python": platform.python_version(), **packages}}
