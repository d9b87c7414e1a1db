"""Towers as runs use them: the model on a device, in the precision that its encoder's YAML asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cache.errors import UserError
from pipeline.checkpoints.fingerprints import fingerprint_of
from pipeline.monitor.device import Precision, check_compiler, computing, describe, is_out_of_memory, pick_device
from pipeline.runner.dask.worker import FilesDiffer
from stages.embed.encoder import Encoder, Tower

if TYPE_CHECKING:
    import torch


class LoadedTower:
    """A tower that computes in a precision.

    Args:
        tower: the model.
        device: where it lies.
        precision: of `encode`; `prepare` is not affected.
    """

    def __init__(self, tower: Tower, device: torch.device, precision: Precision) -> None:
        self._tower, self._device, self._precision = tower, device, precision
        self.prepare = tower.prepare

    def encode(self, batch: Sequence[Any]) -> np.ndarray | list[np.ndarray]:
        """Float32 (len(batch), dim), or arrays (frames, dim) for ragged rows."""
        import torch

        with torch.inference_mode(), computing(self._device, self._precision):
            return self._tower.encode(batch)


def identity_of(encoder: Encoder, tower: str) -> dict[str, Any]:
    """All that decides a row of a tower: what the encoder says, and the precision unless it is `fp32`."""
    identity = encoder.identity(tower)
    precision = encoder.config.precision
    return dict(identity) if precision == "fp32" else {**identity, "precision": precision}


def load_tower(encoder: Encoder, name: str, device: torch.device, compiled: bool = False) -> LoadedTower:
    """Loads one tower of an encoder.

    Args:
        encoder: from `load_encoder`.
        name: of the tower: `clips`, `captions`, or as `Encoder.towers` has it.
        device: from `pick_device`.
        compiled: run its `networks` through torch.compile.

    Raises:
        UserError: the device has no room for the model, or compiling was asked for and there is no compiler, or
            nothing to compile.
    """
    try:
        tower = encoder.load_tower(name, device)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(
            f"Encoder family {encoder.config.family!r} does not fit into the free memory of {device}: free some, or "
            "choose another --device."
        ) from None
    if compiled:
        networks = getattr(tower, "networks", ())
        if not networks:
            raise UserError(f"Encoder family {encoder.config.family!r} has nothing to compile for {name}.")
        check_compiler()
        from pipeline.networks.packed import compile_network

        for network in networks:
            compile_network(network)
    return LoadedTower(tower, device, precision=encoder.config.precision)


@dataclass(frozen=True)
class TowerLoader:
    """Loads one tower of an encoder.

    Attributes:
        encoder: whose.
        tower: which.
        fingerprint: that it must have, wherever it is loaded.
        device: `cpu`, `cuda`, ...; a GPU if any by default.
        compiled: its networks run through torch.compile.
    """

    encoder: Encoder
    tower: str
    fingerprint: str
    device: str | None
    compiled: bool

    def __call__(self) -> tuple[LoadedTower, Mapping[str, Any]]:
        """The tower, and what describes the device.

        Raises:
            UserError: it cannot be loaded, or the files here are not those that the run was planned with.
        """
        device = pick_device(self.device)
        self._check()
        tower = load_tower(self.encoder, self.tower, device, self.compiled)
        self._check()  # they may have been replaced meanwhile
        return tower, describe(device)

    def _check(self) -> None:
        if fingerprint_of(identity_of(self.encoder, self.tower))[0] != self.fingerprint:
            raise FilesDiffer()
