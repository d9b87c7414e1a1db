"""DVCLive metrics and plots of a training."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

from cache.errors import UserError
from stages.train.progress import Evaluation, Progress

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
            for one in progress.evaluations[epoch : epoch + 1]:
                self.evaluation(one)
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


class Silence:
    """Writes nothing: processes other than the first."""

    def losses(self, losses: list[float]) -> None:
        """Losses of the next steps."""

    def evaluation(self, evaluation: Evaluation) -> None:
        """Retrieval at this step."""

    def end(self) -> None:
        """Completes nothing."""
