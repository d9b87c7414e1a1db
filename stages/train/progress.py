"""How far a training has come: saved now and then, so that a run that was killed goes on exactly where it was."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from cache.durable import new_file
from cache.errors import UserError
from pipeline.networks.avlnet import AvlNet
from pipeline.networks.avlnet_shape import Mode
from stages.train.step import Stepper

Evaluation = dict[str, dict[str, float]]


@dataclass
class Progress:
    """What a training has done.

    All random draws follow from the seed, the epoch and the clip, so these numbers are the whole state beside weights
    and optimiser.

    Attributes:
        epoch: that it is in, from 0.
        step: steps done in that epoch.
        losses: of every step.
        evaluations: before each epoch, and after the last.
    """

    epoch: int = 0
    step: int = 0
    losses: list[float] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)


class SavedProgress:
    """Where the state of one training lies.

    Args:
        folder: of this training, named after all that decides its result but the mode.
        mode: that it trains in.
    """

    def __init__(self, folder: Path, mode: Mode) -> None:
        self._path, self._mode = folder / "state.pt", mode

    def save(self, progress: Progress, net: AvlNet, stepper: Stepper) -> None:
        """Writes the state, whole or not at all."""
        state: dict[str, Any] = {
            "mode": self._mode,
            "progress": asdict(progress),
            "net": net.state_dict(),
            "optimizer": stepper.optimizer.state_dict(),
            "scaler": stepper.scaler.state_dict(),
        }
        with new_file(self._path) as temporary:
            torch.save(state, temporary)

    def load(self, net: AvlNet, stepper: Stepper) -> Progress:
        """Puts the saved state into network and optimiser; a new `Progress` if there is none.

        Raises:
            UserError: the file is damaged, or was saved in the other mode.
        """
        if not self._path.is_file():
            return Progress()
        try:
            state = torch.load(self._path, map_location="cpu", weights_only=True)
            if state["mode"] != self._mode:
                raise UserError(
                    f"{self._path} is this training as saved in mode {state['mode']}, which cannot go on in mode "
                    f"{self._mode}: write `mode: {state['mode']}` to go on, or delete {self._path.parent} to begin "
                    "anew."
                )
            net.load_state_dict(state["net"])
            stepper.optimizer.load_state_dict(state["optimizer"])
            stepper.scaler.load_state_dict(state["scaler"])
            return Progress(**state["progress"])
        except UserError:
            raise
        except Exception as error:  # a damaged file can raise anything
            reason = str(error).strip().partition("\n")[0]
            raise UserError(f"{self._path} is damaged ({reason}): delete it, and the training begins anew.") from None

    def forget(self) -> None:
        """Deletes the state of a training that has finished."""
        shutil.rmtree(self._path.parent, ignore_errors=True)
