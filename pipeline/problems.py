"""The problems table: what could not be processed and why. One bad file never stops a run unless it is strict."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from sys import intern

import polars as pl

from cache.errors import UserError
from cache.tables import PROBLEMS, write_table
from pipeline.operations.events import event

MOST_LOGGED = 1000
"""Problems of a stage that are in its log; all are in its table."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that could not be processed, or only in part.

    Attributes:
        stage: name of the stage in `dvc.yaml`.
        id: clip, caption or media id.
        path: the file, as the user named it; empty for a caption.
        reason: one short sentence.
    """

    stage: str
    id: str
    path: str
    reason: str


class StrictStop(UserError):
    """A problem in a strict run."""


@dataclass
class Problems:
    """Collects problems of one stage.

    Attributes:
        stage: name of the stage.
        strict: the first problem raises `StrictStop`.
    """

    stage: str
    strict: bool = False
    found: list[Problem] = field(default_factory=list)

    def add(self, id: str, path: str | Path, reason: str) -> None:
        """Records a problem.

        Raises:
            StrictStop: the run is strict.
        """
        if len(self.found) < MOST_LOGGED:
            event("problem", logging.WARNING, stage=self.stage, id=id, path=path, reason=reason)
        if self.strict:
            raise StrictStop(f"{self.stage}: {path or id}: {reason} (strict run).")
        self.found.append(Problem(self.stage, id, intern(str(path)), intern(reason)))

    def __len__(self) -> int:
        return len(self.found)

    def write(self, path: Path) -> None:
        """Writes the table, ordered by id and reason, so that the same problems give the same bytes."""
        columns = {name: [getattr(one, name) for one in self.found] for name in PROBLEMS}
        write_table(
            pl.DataFrame(columns, dict(PROBLEMS)).sort("id", "path", "reason", maintain_order=True), PROBLEMS, path
        )
