"""How far a training has come: saved now and then, so that a run that was killed goes on exactly where it was."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from cache.durable import new_file
from cache.errors import UserError
from pipeline.checkpoints.weights import save_weights
from pipeline.networks.avlnet import AvlNet
from pipeline.networks.avlnet_shape import Mode
from stages.train.config import Keep
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


BEST = "best.pth"


def recall_sum(evaluation: Mapping[str, Mapping[str, float]]) -> float:
    """Sum of R@1, R@5 and R@10 (percent) over both directions, by which epochs are compared."""
    return sum(value for values in evaluation.values() for name, value in values.items() if name.startswith("R@"))


def is_best(evaluations: Sequence[Evaluation], since: int = 1) -> bool:
    """Whether the last of the evaluations is better than those before it.

    Args:
        evaluations: before the first epoch, and after each.
        since: number of the first that counts.
    """
    sums = [recall_sum(evaluation) for evaluation in evaluations[since:]]
    return bool(sums) and all(sums[-1] > earlier for earlier in sums[:-1])


class KeptEpochs:
    """Keeps the weights of epochs.

    Args:
        keep: which.
        work: folder of the training's state.
        published: folder for the user.
    """

    def __init__(self, keep: Keep, work: Path, published: Path) -> None:
        self._keep, self._work, self._published = keep, work / "epochs", published
        self._since = 1

    def begin(self, progress: Progress) -> str:
        """Publishes what an interrupted run has kept, and nothing else.

        Returns:
            What was not kept, since `keep` was different then; empty if nothing.
        """
        done = progress.epoch
        names = {"all": [f"e{epoch}.pth" for epoch in range(1, done + 1)], "last": [], "best": [BEST] if done else []}
        shutil.rmtree(self._published, ignore_errors=True)
        self._published.mkdir(parents=True)
        lost = [name for name in names[self._keep] if not (self._work / name).is_file()]
        for name in names[self._keep]:
            if name not in lost:
                self._publish(name)
        if self._keep == "best" and lost and len(progress.evaluations) > 1:
            self._since = len(progress.evaluations)
            return f"epochs up to {done} were not kept: {BEST} is the best of those after"
        return f"{', '.join(lost)} were not kept" if self._keep == "all" and lost else ""

    def epoch_done(self, epoch: int, net: AvlNet) -> None:
        """Keeps the weights after an epoch (counted from 1), if all are kept."""
        if self._keep == "all":
            self._add(f"e{epoch}.pth", net)

    def evaluated(self, evaluations: Sequence[Evaluation], net: AvlNet) -> None:
        """Keeps the weights that were evaluated last, if the best are kept and these are."""
        if self._keep == "best" and is_best(evaluations, self._since):
            self._add(BEST, net)

    def best_epoch(self, evaluations: Sequence[Evaluation]) -> int | None:
        """Which epoch (from 1) the best weights are of; None if the best are not kept."""
        sums = [recall_sum(evaluation) for evaluation in evaluations[self._since :]]
        return self._since + sums.index(max(sums)) if self._keep == "best" and sums else None

    def _add(self, name: str, net: AvlNet) -> None:
        save_weights(net, self._work / name)
        self._publish(name)

    def _publish(self, name: str) -> None:
        with new_file(self._published / name) as temporary:
            try:
                os.link(self._work / name, temporary)
            except OSError:  # another disk, or one without links
                shutil.copyfile(self._work / name, temporary)


POINTS_PER_EPOCH = 100


class LivePlots:
    """Writes losses and retrieval as they come; what was saved of an earlier run is written again first.

    Args:
        folder: for DVCLive.
        steps_per_epoch: steps of an epoch.
        progress: what the training has done before.

    Raises:
        UserError: the git repository has no commit yet.
    """

    def __init__(self, folder: Path, steps_per_epoch: int, progress: Progress) -> None:
        from dvclive import Live
        from scmrepo.exceptions import SCMError

        try:
            self._live = Live(str(folder), dvcyaml=None, save_dvc_exp=False, report=None)
        except SCMError as error:
            raise UserError(
                f"DVCLive cannot work with this git repository ({error}): make a first commit (`git commit`)."
            ) from None
        self._every = max(1, steps_per_epoch // POINTS_PER_EPOCH)
        self._losses: list[float] = []
        self._step = 0
        for epoch in range(progress.epoch + 1):
            for evaluation in progress.evaluations[epoch : epoch + 1]:
                self.evaluation(evaluation)
            self.losses(progress.losses[epoch * steps_per_epoch : (epoch + 1) * steps_per_epoch])

    def losses(self, losses: list[float]) -> None:
        """Adds the losses of steps; a point is the mean of several where there are many."""
        for loss in losses:
            self._step += 1
            self._losses.append(loss)
            if self._step % self._every == 0:
                self._live.step = self._step
                self._live.log_metric("train/loss", fmean(self._losses))
                self._losses.clear()
                self._live.make_summary()

    def evaluation(self, evaluation: Evaluation) -> None:
        """Adds what was measured at this step."""
        self._live.step = self._step
        for direction, values in evaluation.items():
            for name, value in values.items():
                self._live.log_metric(f"evaluation/{direction}/{name}", value)
        self._live.make_summary()

    def end(self) -> None:
        """Completes the files."""
        self._live.end()


class NoPlots:
    """Plots of the other processes: none."""

    def losses(self, losses: list[float]) -> None:
        """Losses of the next steps."""

    def evaluation(self, evaluation: Evaluation) -> None:
        """Retrieval at this step."""

    def end(self) -> None:
        """Completes nothing."""
