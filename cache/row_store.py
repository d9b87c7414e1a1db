"""Level one: every row ever computed by one tower, in immutable segments, addressed by row key.

Layout, for reading without this code::

    <store>/rows/<modality>-<fingerprint>/
        store.json                      schema version, modality, fingerprint, format, what the fingerprint was made of
        segments/<time>-<random>.zarr/  row groups, see `zarr_group`; their names sort by time
        scratch/                        unfinished segments
        runs.jsonl                      how fast runs made rows; no part of the store, and of no use but for estimates

A segment appears by a rename once all its bytes are on the disk, and is never written again. No writer locks: each
makes segments of its own, and a key that two writers computed reads as one row, see `copies`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from cache.catalog import Catalog, Lookup, damaged_store
from cache.errors import DamageError, UserError
from cache.formats.group import rows_per_block
from cache.formats.zarr_group import ZarrGroup, ZarrGroupWriter
from cache.keys import Keys, unpack_keys
from cache.location import LocalLocation, RemoteLocation, location_of
from cache.rows import RowFormat, Rows
from cache.segments import STORE_FILE, Segments, StoreDescription, check_tower


class RowWriter:
    """Commits every so many rows, bytes or seconds, and what is left at the end of its `with`, errors included.

    A run that is killed loses what it has not committed: at most `seconds` of work. Segments of 16,384 rows keep a
    store of millions of rows at hundreds of segments.

    Args:
        store: takes the rows.
        provenance: written beside them.
        rows: commit after so many.
        nbytes: commit after so many bytes of values.
        seconds: commit, with the next rows, after so long.

    Attributes:
        committed: number of rows so far that are durable.
    """

    def __init__(
        self,
        store: RowStore,
        provenance: Mapping[str, Any],
        *,
        rows: int = 1 << 14,
        nbytes: int = 64 << 20,
        seconds: float = 30.0,
    ) -> None:
        self._store = store
        self._provenance = provenance
        self._limits = (rows, nbytes, seconds)
        self._parts: list[Rows] = []
        self._last = time.monotonic()
        self.committed = 0

    def add(self, keys: Keys, values: Any, extra: Mapping[str, Any] | None = None) -> None:
        """Takes rows as `RowStore.append` does; they may be committed later.

        Raises:
            UserError: the rows are refused, or what had gathered could not be written.
        """
        self.add_rows(Rows.of(self._store.format, keys, values, extra, where=f"A batch for {self._store.path}"))

    def add_rows(self, rows: Rows) -> None:
        """Takes rows that have been checked before."""
        if len(rows):
            self._parts.append(rows)
        gathered = (sum(map(len, self._parts)), sum(part.nbytes for part in self._parts))
        if gathered[0] >= self._limits[0] or gathered[1] >= self._limits[1] or self.seconds > self._limits[2]:
            self.commit()

    @property
    def seconds(self) -> float:
        """Time since the last commit."""
        return time.monotonic() - self._last

    def commit(self) -> None:
        """Makes everything added so far durable and visible.

        Raises:
            UserError: a key came twice since the last commit, or the disk refuses.
        """
        if self._parts:
            rows = Rows.join(self._store.format, self._parts)
            self._parts = []
            rows.check_distinct(f"A batch for {self._store.path}")
            self._store.append_rows(rows, self._provenance)
            self.committed += len(rows)
        self._last = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.commit()


class RowStore:
    """The rows of one modality and fingerprint; `ensure` makes one, `open` opens one.

    Args:
        location: folder of the store.

    Attributes:
        path: folder or URL.
        description: modality, fingerprint, format, identity.
        format: of every row.
        segments: where the rows lie.
        catalog: which rows the segments hold.

    Raises:
        UserError: it is no row store, of another version, or its description is damaged.
    """

    def __init__(self, location: LocalLocation | RemoteLocation) -> None:
        self.path = str(location)
        try:
            self.description = StoreDescription.read(location)
        except DamageError as error:
            raise damaged_store(self.path, error.damages) from None
        self.format = self.description.format
        self.segments = Segments(location)
        self.catalog = Catalog(self.path, self.segments, self.description)

    @classmethod
    def open(cls, path: Path | str, filesystem: Any = None) -> RowStore:
        """Opens an existing store by its folder or fsspec URL; raises as the class does."""
        return cls(location_of(path, filesystem))

    @classmethod
    def ensure(
        cls,
        root: Path | str,
        modality: str,
        fingerprint: str,
        row_format: RowFormat,
        identity: Mapping[str, Any] | None = None,
    ) -> RowStore:
        """Opens the store of a tower, making it if there is none.

        Args:
            root: folder or URL of the row stores (`Store.rows`).
            modality: `clips` or `captions`.
            fingerprint: of the tower, 32 hex digits.
            row_format: of the rows.
            identity: what the fingerprint was made of, written down for people.

        Raises:
            UserError: the store holds rows of another format or fingerprint, is of another version, or cannot be made.
        """
        check_tower(modality, fingerprint)
        location = location_of(root).child(f"{modality}-{fingerprint}")
        described = StoreDescription(modality, fingerprint, row_format, identity or {})
        if STORE_FILE not in location.names():
            Segments(location).write_description(described.to_bytes())
        store = cls(location)
        store.check_same(row_format, fingerprint)
        if identity and not store.description.identity:  # lost in a repair
            store.segments.write_description(described.to_bytes())
            store.description = described
        store.segments.clean()
        return store

    def check_same(self, row_format: RowFormat, fingerprint: str) -> None:
        """Refuses rows that this store cannot take.

        Raises:
            UserError: they are of another format or fingerprint.
        """
        if self.description.fingerprint != fingerprint:
            raise UserError(
                f"{self.path} holds rows of fingerprint {self.description.fingerprint}, not of {fingerprint}: "
                "rows of different encoders are never mixed."
            )
        if self.format != row_format:
            raise UserError(f"{self.path} holds rows of {self.format}, not of {row_format}.")

    def refresh(self) -> None:
        """Reads again which segments are committed (other writers may have added or merged some)."""
        self.catalog.refresh()

    @property
    def groups(self) -> dict[str, ZarrGroup]:
        """Segments by name, oldest first, as last read."""
        return self.catalog.groups

    def __len__(self) -> int:
        """Number of rows, a key written twice counted once."""
        return int(np.count_nonzero(self.catalog.index.first_rows()))

    def keys(self) -> np.ndarray:
        """The key of every row, in the order of commits: uint8 (n, 16)."""
        return self.catalog.index.packed[self.catalog.index.first_rows()]

    def contradictory(self, keys: Keys | Lookup) -> np.ndarray:
        """Which of the keys have rows that contradict each other, so that none is read: bool (len(keys),)."""
        wanted = self.lookup(keys)
        return self.catalog.with_refresh(lambda: self.catalog.copies.chosen(wanted.rows) < -1)

    def lookup(self, keys: Keys | Lookup) -> Lookup:
        """Where the rows of many keys are, to ask more than one thing of them."""
        return keys if isinstance(keys, Lookup) else Lookup(self.catalog, keys)

    def missing(self, keys: Keys) -> list[bytes]:
        """The keys that have no row yet, each once, in the order given."""
        found = self.lookup(keys)
        return unpack_keys(found.keys[found.missing()])

    def read(self, keys: Keys) -> np.ndarray | list[np.ndarray]:
        """Values of rows in the order of the keys, for computing with numpy.

        Returns:
            (len(keys), dim), or a list of (frames, dim) when ragged; bfloat16 as float32.

        Raises:
            KeyError: a key has no row.
            UserError: a segment is damaged.
        """
        return self.read_rows(keys).numpy()

    def read_rows(self, keys: Keys | Lookup) -> Rows:
        """Rows in the order of the keys, with extra values (`.torch()` gives tensors); raises as `read` does."""
        return self.catalog.read(self.lookup(keys))

    def frames(self, keys: Keys | Lookup) -> int:
        """Frames of all these rows together; their number when rows are not ragged."""
        return self.catalog.frames(self.lookup(keys)) if self.format.ragged else len(keys)

    def blocks(self, keys: Keys | Lookup | None = None) -> Iterator[Rows]:
        """Rows in the order of the keys (by default every row once, in the order of commits), 32 MiB at a time."""
        wanted = self.lookup(self.keys() if keys is None else keys)
        step = rows_per_block(self.format, len(wanted), self.frames(wanted))
        for start in range(0, len(wanted), step):
            yield self.catalog.read(wanted, slice(start, start + step))

    def append(
        self,
        keys: Keys,
        values: Any,
        extra: Mapping[str, Any] | None = None,
        *,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        """Commits a batch: when this returns, the rows are on the disk and visible to everybody.

        Args:
            keys: one per row, distinct.
            values: finite; (len(keys), dim), or a sequence of (frames, dim) when ragged.
            extra: name -> one number per row.
            provenance: library versions, device, ... written beside the rows.

        Raises:
            UserError: shape, duplicate keys, a value that is not finite, or the disk refuses; nothing is written.
        """
        rows = Rows.of(self.format, keys, values, extra, where=f"A batch for {self.path}")
        self.append_rows(rows, provenance)

    def append_rows(self, rows: Rows, provenance: Mapping[str, Any] | None = None) -> None:
        """Commits rows that `Rows.of` has checked."""
        if len(rows):
            frames = len(rows.values)
            with self.new_segment(len(rows), frames, provenance) as writer:
                writer.append(rows)

    @contextmanager
    def new_segment(
        self, n: int, frames: int, provenance: Mapping[str, Any] | None = None, after: str | None = None
    ) -> Iterator[ZarrGroupWriter]:
        """A segment to be filled within a `with`, and committed at its end.

        Args:
            n: rows it will have.
            frames: frames of them together; n when rows are not ragged.
            provenance: written beside the rows.
            after: name of the segment whose time it takes.
        """
        attributes = {
            "modality": self.description.modality,
            "fingerprint": self.description.fingerprint,
            "provenance": dict(provenance or {}),
        }
        with self.segments.new(after) as folder:
            writer = ZarrGroupWriter(folder, self.format, n, frames, attributes)
            try:
                yield writer
                writer.close()
            finally:
                writer.abandon()
        self.catalog.stale = True

    def writer(self, provenance: Mapping[str, Any] | None = None, **limits: Any) -> RowWriter:
        """Gathers rows and commits them in batches; see `RowWriter`."""
        return RowWriter(self, provenance or {}, **limits)
