"""The weights of single epochs, as `keep` asks: made in the store, shown beside `model.pth`.

DVC deletes the outputs of a stage before it runs. So the files are made in the folder of the training's state, where an
interrupted training finds them again, and each is linked (or copied) into `data/trainings/NAME/epochs/` at once.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from cache.durable import new_file
from pipeline.networks.avlnet import AvlNet, save_weights
from stages.train.config import Keep
from stages.train.progress import Evaluation, Progress

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
    sums = [recall_sum(one) for one in evaluations[since:]]
    return bool(sums) and all(sums[-1] > one for one in sums[:-1])


class KeptEpochs:
    """Keeps the weights of epochs.

    Args:
        keep: which.
        work: folder of the training's state.
        shown: folder for the user.
    """

    def __init__(self, keep: Keep, work: Path, shown: Path) -> None:
        self._keep, self._work, self._shown = keep, work / "epochs", shown
        self._since = 1

    def begin(self, progress: Progress) -> str:
        """Shows what an interrupted run has kept, and nothing else.

        Returns:
            What was not kept, since `keep` was another then; empty if nothing.
        """
        done = progress.epoch
        names = {"all": [f"e{epoch}.pth" for epoch in range(1, done + 1)], "last": [], "best": [BEST] if done else []}
        shutil.rmtree(self._shown, ignore_errors=True)
        self._shown.mkdir(parents=True)
        lost = [name for name in names[self._keep] if not (self._work / name).is_file()]
        for name in names[self._keep]:
            if name not in lost:
                self._show(name)
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
        sums = [recall_sum(one) for one in evaluations[self._since :]]
        return self._since + sums.index(max(sums)) if self._keep == "best" and sums else None

    def _add(self, name: str, net: AvlNet) -> None:
        save_weights(net, self._work / name)
        self._show(name)

    def _show(self, name: str) -> None:
        with new_file(self._shown / name) as temporary:
            try:
                os.link(self._work / name, temporary)
            except OSError:  # another disk, or one without links
                shutil.copyfile(self._work / name, temporary)
