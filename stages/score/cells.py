"""Cells of a table: what one experiment scored on one subset, kept in the store under a key of all that decides it."""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.durable import new_file
from cache.errors import DamageError, UserError, writing
from cache.json_documents import CHECKSUM, canonical_json, seal, unseal
from cache.location import Store
from pipeline.config import layout
from pipeline.config.experiments import ExperimentConfig
from pipeline.media.unchanged import digest_memory
from stages.score.experiment import open_experiment
from stages.score.inputs import EmbeddingReader, NothingToScore
from stages.score.scored import Queries, Scored

SCORE_VERSION = 2
"""Raised when a change of the code changes numbers."""

MOST_QUERIES = 2_000_000
"""A cell of more is not kept: its ids alone would take hundreds of megabytes as text."""

NOT_SCORED = {"note", "paper", "seeds_of"}
"""Options of an experiment that change no number."""

COLUMNS = ("rank", "average_precision", "ndcg", "correct")


@dataclass(frozen=True, eq=False)
class Cell:
    """What an experiment scored on a subset.

    Attributes:
        directions: numbers by direction; none if there was nothing to score.
        examples: single queries, of the whole corpus only.
        heatmap: a sample of the similarities, likewise.
        n_clips_missing: clips of the corpus that an encoder has no embedding of.
        nothing: why there are no numbers.
    """

    directions: Mapping[str, Scored] = field(default_factory=dict)
    examples: list[dict[str, Any]] = field(default_factory=list)
    heatmap: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    n_clips_missing: int = 0
    nothing: str = ""


def compute(experiment: ExperimentConfig, members: AbstractSet[str] | None, reader: EmbeddingReader) -> Cell:
    """Scores an experiment on the clips of a subset, or (None) on the whole corpus.

    Raises:
        UserError: a table or an embedding cache cannot be read.
    """
    try:
        scorer = open_experiment(experiment, reader)
        directions = scorer.score(members)
    except NothingToScore as reason:
        return Cell(nothing=str(reason))
    if members is not None:
        return Cell(directions, n_clips_missing=scorer.n_clips_missing)
    return Cell(directions, scorer.examples(directions), scorer.heatmap(), scorer.n_clips_missing)


class CellStore:
    """Cells of a corpus and subset that the store keeps; the folder `scores` of the store may be deleted at any time.

    Args:
        corpus: that is scored.
        members: ids that belong to the subset; None for the whole corpus.
    """

    def __init__(self, corpus: str, members: AbstractSet[str] | None) -> None:
        self._corpus, self._digests = corpus, digest_memory()
        self._folder = Store.default().root / "scores"
        names = None if members is None else hashlib.sha256("\n".join(sorted(members)).encode()).hexdigest()
        folder = layout.table(corpus, "clips").parent
        tables = {
            str(path.relative_to(folder)): self._digests.digest(path) for path in sorted(folder.rglob("*.parquet"))
        }
        self._given = {"version": SCORE_VERSION, "members": names, "tables": tables}
        self._of_encoder: dict[str, dict[str, str]] = {}

    def key(self, experiment: ExperimentConfig) -> str:
        """The content key of a cell: 32 hex digits of what decides its numbers."""
        document = {
            **self._given,
            "experiment": experiment.model_dump(mode="json", exclude=NOT_SCORED),
            "embeddings": {encoder: self._artifacts(encoder) for encoder in experiment.encoders},
        }
        return hashlib.blake2b(canonical_json(document), digest_size=16).hexdigest()

    def _artifacts(self, encoder: str) -> dict[str, str]:
        if encoder not in self._of_encoder:
            folder = layout.embeddings(self._corpus, encoder, "any").parent
            paths = sorted(path for path in folder.rglob("*") if path.is_file())
            self._of_encoder[encoder] = {str(path.relative_to(folder)): self._digests.digest(path) for path in paths}
        return self._of_encoder[encoder]

    def read(self, key: str) -> Cell | None:
        """A kept cell; None if there is none.

        Raises:
            UserError: it is damaged.
        """
        path = self._path(key)
        try:
            document = unseal(path.read_bytes(), path.name)
            return _cell(document["cell"])
        except FileNotFoundError:
            return None
        except (OSError, DamageError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{path} cannot be read ({error})") from None

    def write(self, key: str, cell: Cell) -> None:
        """Keeps a cell.

        Raises:
            UserError: the store cannot be written.
        """
        if sum(len(one.ids) for scored in cell.directions.values() for one in scored.queries.values()) > MOST_QUERIES:
            return
        path = self._path(key)
        with writing(path):
            self._folder.mkdir(parents=True, exist_ok=True)
            with new_file(path) as temporary:
                temporary.write_bytes(seal({CHECKSUM: "00000000", "cell": _document(cell)}))

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.json"


def _document(cell: Cell) -> dict[str, Any]:
    return {
        "directions": [[name, _scored_document(one)] for name, one in cell.directions.items()],
        "examples": cell.examples,
        "heatmap": [[name, str(array.dtype), array.tolist()] for name, array in cell.heatmap.items()],
        "n_clips_missing": cell.n_clips_missing,
        "nothing": cell.nothing,
    }


def _scored_document(scored: Scored) -> dict[str, Any]:
    return {
        "queries": [
            [kind, one.ids, {name: _text(getattr(one, name)) for name in COLUMNS}]
            for kind, one in scored.queries.items()
        ],
        "n_items": scored.n_items,
        "values": _pairs(scored.values),
        "chance": _pairs(scored.chance),
        "classes": [[name, _pairs(one)] for name, one in scored.classes.items()],
        "intervals": [[name, float(low).hex(), float(high).hex()] for name, (low, high) in scored.intervals.items()],
    }


def _pairs(numbers: Mapping[str, float]) -> list[list[str]]:
    return [[name, float(value).hex()] for name, value in numbers.items()]


def _text(column: NDArray[np.float64] | None) -> str | None:
    """The bytes of numbers, nan included."""
    return None if column is None else b64encode(np.ascontiguousarray(column, "<f8").tobytes()).decode()


def _cell(document: Mapping[str, Any]) -> Cell:
    return Cell(
        {name: _scored(one) for name, one in document["directions"]},
        document["examples"],
        {name: np.array(values, np.dtype(dtype)) for name, dtype, values in document["heatmap"]},
        document["n_clips_missing"],
        document["nothing"],
    )


def _scored(document: Mapping[str, Any]) -> Scored:
    queries = {
        kind: Queries(ids, *(None if columns[name] is None else _numbers(columns[name]) for name in COLUMNS))
        for kind, ids, columns in document["queries"]
    }
    return Scored(
        queries,
        document["n_items"],
        _mapping(document["values"]),
        _mapping(document["chance"]),
        {name: _mapping(one) for name, one in document["classes"]},
        {name: (float.fromhex(low), float.fromhex(high)) for name, low, high in document["intervals"]},
    )


def _numbers(text: str) -> NDArray[np.float64]:
    return np.frombuffer(b64decode(text), "<f8").astype(np.float64)


def _mapping(pairs: list[list[str]]) -> dict[str, float]:
    return {name: float.fromhex(value) for name, value in pairs}
