"""The problems table: what could not be processed and why. One bad file never stops a run unless it is strict."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cache.errors import UserError
from cache.tables import PROBLEMS, table, write_table
from pipeline.operations.events import event


@dataclass(frozen=True)
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
        event("problem", logging.WARNING, stage=self.stage, id=id, path=path, reason=reason)
        if self.strict:
            raise StrictStop(f"{self.stage}: {path or id}: {reason} (strict run).")
        self.found.append(Problem(self.stage, id, str(path), reason))

    def __len__(self) -> int:
        return len(self.found)

    def write(self, path: Path) -> None:
        """Writes the table, ordered by id and reason, so that the same problems give the same bytes."""
        rows = sorted((asdict(one) for one in self.found), key=lambda row: (row["id"], row["path"], row["reason"]))
        write_table(table(rows, PROBLEMS), PROBLEMS, path)
