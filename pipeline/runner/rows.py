"""The rows that an output should have, as columns: a hundred bytes a row however many millions there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import overload

import numpy as np
import polars as pl

from cache.keys import pack_keys, unpack_keys

_TOGETHER = 1 << 14


@dataclass(frozen=True, slots=True)
class Row:
    """One wanted embedding.

    Attributes:
        id: clip or caption id.
        key: row key, 16 bytes.
        group: rows of one group are read together (a media file is opened once).
        path: file to name in a problem.
    """

    id: str
    key: bytes
    group: str
    path: str


def taken(column: pl.Series, at: np.ndarray) -> pl.Series:
    """Some values of a column; neighbours are a slice, for polars gathers few values slowly."""
    if len(at) and at[-1] - at[0] == len(at) - 1 and (np.diff(at) == 1).all():
        return column.slice(int(at[0]), len(at))
    return column.gather(at)


class WantedRows(Sequence[Row]):
    """Rows in table order; a `Row` is made when somebody asks for it.

    Args:
        ids: of clips or captions, n strings.
        keys: row keys, uint8 (n, 16).
        groups: numbers of the groups, int (n,).
        paths: files to name in a problem, n strings.
        at: which of the rows these are, and in which order; all by default.
    """

    def __init__(
        self, ids: pl.Series, keys: np.ndarray, groups: np.ndarray, paths: pl.Series, at: np.ndarray | None = None
    ) -> None:
        self._columns = (ids, pack_keys(keys), np.asarray(groups), paths)
        self._at = at

    @classmethod
    def of(cls, rows: Iterable[Row]) -> WantedRows:
        """Rows that are objects already, or what it is given if that is columns."""
        if isinstance(rows, WantedRows):
            return rows
        rows = list(rows)
        numbers: dict[str, int] = {}
        groups = np.array([numbers.setdefault(row.group, len(numbers)) for row in rows], np.int64)
        ids, paths = (pl.Series([getattr(row, name) for row in rows], dtype=pl.String) for name in ("id", "path"))
        return cls(ids, pack_keys([row.key for row in rows]), groups, paths)

    @property
    def ids(self) -> pl.Series:
        """Clip or caption ids."""
        return self._columns[0] if self._at is None else taken(self._columns[0], self._at)

    @property
    def keys(self) -> np.ndarray:
        """Row keys, uint8 (n, 16)."""
        return self._columns[1] if self._at is None else self._columns[1][self._at]

    @property
    def _groups(self) -> np.ndarray:
        return self._columns[2] if self._at is None else self._columns[2][self._at]

    def __len__(self) -> int:
        return len(self._columns[0]) if self._at is None else len(self._at)

    @overload
    def __getitem__(self, which: int) -> Row: ...
    @overload
    def __getitem__(self, which: slice) -> WantedRows: ...

    def __getitem__(self, which: int | slice) -> Row | WantedRows:
        if isinstance(which, slice):
            return self.part(np.arange(*which.indices(len(self))))
        return next(iter(self.part(np.array([range(len(self))[which]]))))

    def __iter__(self) -> Iterator[Row]:
        ids, keys, groups, paths = self._columns
        for start in range(0, len(self), _TOGETHER):
            stop = min(start + _TOGETHER, len(self))
            some = np.arange(start, stop) if self._at is None else self._at[start:stop]
            names = map(str, groups[some].tolist())
            yield from map(Row, taken(ids, some), unpack_keys(keys[some]), names, taken(paths, some))

    def part(self, positions: np.ndarray) -> WantedRows:
        """Some of the rows; the columns are shared."""
        return WantedRows(*self._columns, at=positions if self._at is None else self._at[positions])

    def grouped(self) -> tuple[WantedRows, list[int]]:
        """The rows of each group together, groups in the order of their first rows; and where each group ends."""
        if not len(self):
            return self, []
        _, first, group = np.unique(self._groups, return_index=True, return_inverse=True)
        rank = np.empty(len(first), np.int64)
        rank[np.argsort(first)] = np.arange(len(first))
        ranks = rank[group]
        order = np.argsort(ranks, kind="stable")
        return self.part(order), np.searchsorted(ranks[order], np.arange(len(first)), side="right").tolist()

    def by_group(self) -> list[WantedRows]:
        """Rows that are read together."""
        rows, ends = self.grouped()
        return [rows[start:stop] for start, stop in pairwise([0, *ends])]


SEPARATOR = "|"


def pair_id(clip_id: str, caption_id: str) -> str:
    """The id of a clip's audio with one of its captions."""
    return f"{caption_id}{SEPARATOR}{clip_id}"


def pair_ids(pairs: pl.DataFrame) -> pl.Series:
    """The ids of all rows of a table with columns `clip_id` and `caption_id`."""
    return pairs.select(pl.concat_str("caption_id", "clip_id", separator=SEPARATOR)).to_series()
