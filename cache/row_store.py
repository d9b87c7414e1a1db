"""Level one: every row ever computed by one tower, in immutable segments, addressed by row key.

Layout, for reading without this code::

    <store>/rows/<modality>-<fingerprint>/
        store.json                      schema version, modality, fingerprint, format, what the fingerprint was made of
        segments/<time>-<random>.zarr/  row groups, see `zarr_group`; their names sort by time
        scratch/                        unfinished segments

A segment appears by a rename once all its bytes are on the disk, and is never written again. Nobody locks: each
writer makes segments of its own, and a key that two writers computed reads as one row, the first committed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cache import documents
from cache import keys as row_keys
from cache.errors import Damage, DamageError, UserError
from cache.key_index import KeyIndex
from cache.places import LocalPlace, RemotePlace, place_of
from cache.row_format import RowFormat
from cache.row_group import SCHEMA_VERSION, check_schema, rows_per_block
from cache.row_writer import RowWriter
from cache.rows import Rows
from cache.segments import Segments
from cache.zarr_group import ZarrGroup, ZarrGroupWriter

if TYPE_CHECKING:
    import torch


def describe_store(modality: str, fingerprint: str, row_format: RowFormat, identity: Mapping[str, Any]) -> bytes:
    """What stands in a store's store.json."""
    return documents.sealed(
        {
            "schema": SCHEMA_VERSION,
            "modality": modality,
            "fingerprint": fingerprint,
            "format": row_format.to_json(),
            "identity": dict(identity),
            documents.CHECKSUM: "00000000",
        }
    )


class RowStore:
    """The rows of one modality and fingerprint; `ensure` makes one, `open` looks at one.

    Attributes:
        path: folder or URL.
        format: of every row.
        description: modality, fingerprint, identity (what the fingerprint was made of).
        segments: where the rows lie.
    """

    def __init__(self, place: LocalPlace | RemotePlace) -> None:
        self.path = str(place)
        try:
            data = place.read("store.json")
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(f"{place} is no row store of hearonce (it has no store.json).") from None
        try:
            found = documents.opened(data, "store.json")
        except DamageError as error:
            raise self._damaged(error.damages) from None
        check_schema(found, f"{place}/store.json", "row store")
        self.format = RowFormat.from_json(found["format"])
        self.description = {name: found[name] for name in ("modality", "fingerprint", "identity")}
        self.segments = Segments(place)
        self._groups: dict[str, ZarrGroup] = {}
        self._index: KeyIndex | None = None
        self._stale = False

    @classmethod
    def open(cls, path: Path | str, filesystem: Any = None) -> RowStore:
        """Opens an existing store by its folder or fsspec URL.

        Raises:
            UserError: it is no row store, of another version, or its description is damaged.
        """
        return cls(place_of(path, filesystem))

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
        place = place_of(root).child(f"{modality}-{fingerprint}")
        if "store.json" not in place.names():
            Segments(place).write_description(describe_store(modality, fingerprint, row_format, identity or {}))
        store = cls(place)
        store.check_same(row_format, fingerprint)
        if identity and not store.description["identity"]:
            store.segments.write_description(describe_store(modality, fingerprint, row_format, identity))
            store = cls(place)
        store.segments.clean()
        return store

    def check_same(self, row_format: RowFormat, fingerprint: str) -> None:
        """Refuses rows that this store cannot take.

        Raises:
            UserError: they are of another format or fingerprint.
        """
        if self.description["fingerprint"] != fingerprint:
            raise UserError(
                f"{self.path} holds rows of fingerprint {self.description['fingerprint']}, not of {fingerprint}: "
                "rows of different encoders are never mixed."
            )
        if self.format != row_format:
            raise UserError(f"{self.path} holds rows of {self.format}, not of {row_format}.")

    def refresh(self) -> None:
        """Looks again which segments are committed (other writers may have added or merged some)."""
        self.segments.check_there()
        groups: dict[str, ZarrGroup] = {}
        for name in self.segments.names():
            try:
                group = self._groups.get(name) or self.segments.open(name)
                if group is not None:
                    _ = group.keys
                    groups[name] = group
            except DamageError as error:
                raise self._damaged(error.damages, name) from None
            except FileNotFoundError as error:
                if name in self.segments.names():
                    file = str(error.filename or error).removeprefix(f"{self.segments.place(name)}/")
                    raise self._damaged([Damage(file, None, "is missing")], name) from None
        if self._index is None or list(groups) != list(self._groups):
            self._index = KeyIndex([group.keys for group in groups.values()])
            for group, start, stop in zip(groups.values(), self._index.first[:-1], self._index.first[1:], strict=True):
                group.keys = self._index.packed[start:stop]
        self._groups, self._stale = groups, False

    @property
    def index(self) -> KeyIndex:
        """All keys, as last looked at."""
        if self._index is None or self._stale:
            self.refresh()
        assert self._index is not None
        return self._index

    @property
    def groups(self) -> dict[str, ZarrGroup]:
        """Segments by name, oldest first, as last looked at."""
        _ = self.index
        return self._groups

    def __len__(self) -> int:
        """Number of rows, a key written twice counted once."""
        return int(np.count_nonzero(self.index.first_rows()))

    def keys(self) -> np.ndarray:
        """The key of every row, in the order of commits: uint8 (n, 16)."""
        return self.index.packed[self.index.first_rows()]

    def missing(self, keys: row_keys.Keys) -> list[bytes]:
        """The keys that have no row yet, each once, in the order given."""
        absent = np.flatnonzero(self.index.find(keys) < 0)
        if isinstance(keys, np.ndarray):
            return list(dict.fromkeys(row_keys.unpack(keys[absent])))
        return list(dict.fromkeys(keys[i] for i in absent.tolist()))

    def read(self, keys: row_keys.Keys) -> np.ndarray | list[np.ndarray]:
        """Values of rows in the order of the keys, for computing with numpy.

        Returns:
            (len(keys), dim), or a list of (frames, dim) when ragged; bfloat16 as float32.

        Raises:
            KeyError: a key has no row.
            UserError: a segment is damaged.
        """
        return self.read_rows(keys).numpy()

    def read_torch(self, keys: row_keys.Keys) -> torch.Tensor | list[torch.Tensor]:
        """The same as tensors of the store's dtype, bfloat16 included."""
        return self.read_rows(keys).torch()

    def read_rows(self, keys: row_keys.Keys) -> Rows:
        """Rows in the order of the keys, with side values; raises as `read` does."""
        for _ in range(5):
            try:
                return self._read(keys)
            except FileNotFoundError as error:  # another process has merged segments since we looked
                before = list(self._groups)
                self.refresh()
                if list(self._groups) == before:
                    file = str(error.filename).removeprefix(f"{self.path}/")
                    raise self._damaged([Damage(file, None, "is missing")]) from None
        raise UserError(f"{self.path} keeps changing while it is read: run again.")

    def frames(self, keys: row_keys.Keys) -> int:
        """Frames of all these rows together; their number when rows are not ragged."""
        if not self.format.ragged:
            return len(keys)
        return sum(
            int((group.offsets[local + 1] - group.offsets[local]).sum())
            for group, local, _ in self._located(keys)
            if group.offsets is not None
        )

    def blocks(self, keys: row_keys.Keys | None = None) -> Iterator[Rows]:
        """Rows in the order of the keys (by default every row once, in the order of commits), 32 MiB at a time."""
        keys = self.keys() if keys is None else keys
        step = rows_per_block(self.format, len(keys), self.frames(keys))
        for start in range(0, len(keys), step):
            yield self.read_rows(keys[start : start + step])

    def append(
        self,
        keys: row_keys.Keys,
        values: Any,
        side: Mapping[str, Any] | None = None,
        *,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        """Commits a batch: when this returns, the rows are on the disk and visible to everybody.

        Args:
            keys: one per row, distinct.
            values: finite; (len(keys), dim), or a sequence of (frames, dim) when ragged.
            side: name -> one number per row.
            provenance: library versions, device, ... written beside the rows.

        Raises:
            UserError: shape, duplicate keys, a value that is not finite, or the disk refuses; nothing is written.
        """
        rows = Rows.of(self.format, keys, values, side, where=f"A batch for {self.path}")
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
            after: name of the segment whose place in time it takes.
        """
        owner = {name: self.description[name] for name in ("modality", "fingerprint")}
        attributes = {**owner, "provenance": dict(provenance or {})}
        with self.segments.new(after) as folder:
            writer = ZarrGroupWriter(folder, self.format, n, frames, attributes)
            try:
                yield writer
                writer.close()
            finally:
                writer.abandon()
        self._stale = True

    def writer(self, provenance: Mapping[str, Any] | None = None, **limits: Any) -> RowWriter:
        """Gathers rows and commits them in batches; see `RowWriter`."""
        return RowWriter(self, provenance or {}, **limits)

    def _located(self, keys: row_keys.Keys) -> list[tuple[ZarrGroup, np.ndarray, np.ndarray]]:
        """Per segment: its group, the rows wanted of it, and where they go."""
        index = self.index
        position = index.find(keys)
        if (position < 0).any():
            raise KeyError(f"{self.path} lacks {int((position < 0).sum())} of {len(keys)} rows")
        segment = np.searchsorted(index.first, position, side="right") - 1
        order = np.argsort(segment, kind="stable")
        cuts = np.searchsorted(segment[order], np.arange(len(self._groups) + 1))
        groups = list(self._groups.values())
        return [
            (groups[i], position[order[a:b]] - index.first[i], order[a:b])
            for i, (a, b) in enumerate(pairwise(cuts))
            if a < b
        ]

    def _read(self, keys: row_keys.Keys) -> Rows:
        parts, places = [], []
        for group, local, place in self._located(keys):
            with self.naming_damage(group.path.rstrip("/").rsplit("/", 1)[-1]):
                parts.append(group.take(local))
            places.append(place)
        rows = Rows.join(self.format, parts)
        place = np.concatenate([np.zeros(0, np.int64), *places])
        if (np.diff(place) == 1).all():
            return rows
        back = np.empty(len(place), np.int64)
        back[place] = np.arange(len(place))
        return rows.take(back)

    @contextmanager
    def naming_damage(self, segment: str) -> Iterator[None]:
        """Says in which segment of which store damage was met, and what to do."""
        try:
            yield
        except DamageError as error:
            raise self._damaged(error.damages, segment) from None

    def _damaged(self, damages: Sequence[Damage], segment: str | None = None) -> DamageError:
        prefix = f"segments/{segment}/" if segment else ""
        named = [Damage(prefix + one.file, one.rows, one.reason, one.keys) for one in damages]
        remedy = f"run `hearonce cache repair {self.path}`; only the damaged rows are embedded anew"
        return DamageError(named, self.path, remedy)
