"""What a colleague's run has been answered."""

from __future__ import annotations

from cache import tables as schemas
from cache.answers import Answer
from pipeline import layout
from pipeline.previous_table import previous_table
from pipeline.summary import Summary


class AnswersBefore:
    """The answers of the output that dvc.lock names, fetched once and only if somebody lacks an answer."""

    def __init__(self, corpus: str, summary: Summary) -> None:
        self._corpus, self._summary = corpus, summary
        self._found: dict[str, list[Answer]] | None = None

    def answers(self) -> dict[str, list[Answer]]:
        """By fingerprint."""
        if self._found is None:
            self._found = {}
            with self._summary.timed("warm"):
                table = previous_table(layout.described(self._corpus, "answers"), schemas.ANSWERS, self._summary.remark)
            for row in table.iter_rows(named=True):
                self._found.setdefault(row.pop("fingerprint"), []).append(Answer(**row))
        return self._found
