"""Row groups as Zarr v3 groups: what segments are, and artifacts by default.

Layout, for reading without this code::

    <group>/
        zarr.json           attributes: hearonce = {schema, format, rows, ..., hearonce_crc32c}; all arrays' metadata
        keys/               uint8 (n, 16)
        values/             (n, dim), or (frames of all rows, dim) when ragged; bfloat16 as its 16 bits in uint16
        offsets/            int64 (n + 1,), only when ragged: row i is values[offsets[i] : offsets[i + 1]]
        side.<name>/        (n,), one number per row
        ids/                string (n,), only in artifacts

Each folder holds its zarr.json and shard files `c.0.0`, `c.1.0`, ... as `zarr_array` explains them. zarr.json of the
group ends the writing: a group without it is not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cache.errors import Damage, DamageError, FalseClaim, UserError
from cache.formats.group import RowGroup, RowGroupWriter, describe, layout
from cache.formats.zarr_array import ARTIFACT_SHARD_BYTES, SEGMENT_SHARD_BYTES, ArraySpec, ArrayWriter
from cache.formats.zarr_foreign import PlainArray
from cache.formats.zarr_reader import ShardedArray, Visit
from cache.formats.zarr_strings import Strings, read_strings, strings_document, write_strings
from cache.json_documents import canonical_json, is_own_json, parse_json, seal, unseal
from cache.location import Location
from cache.rows import RowFormat

_ROWS_BELIEVED = 1 << 20
"""A group of no more rows is accepted without comparing it with the sizes of its files; reading checks them anyway."""


def array_specs(row_format: RowFormat, n: int, frames: int, *, segment: bool) -> dict[str, ArraySpec]:
    """How each array of a group lies on the disk.

    Rows added to an artifact leave its earlier shards as they are; a segment never grows, and is as small as it can.
    """
    shard_bytes = SEGMENT_SHARD_BYTES if segment else ARTIFACT_SHARD_BYTES
    specs = {name: ArraySpec(shape, dtype) for name, (shape, dtype) in layout(row_format, n, frames).items()}
    rows = frames if row_format.ragged else n
    specs["values"] = ArraySpec.of_values(rows, row_format.dim, row_format.storage, shard_bytes)
    return {name: spec.fitted() for name, spec in specs.items()} if segment else specs


class ZarrGroupWriter(RowGroupWriter):
    """Writes a group into an empty folder; nothing is synced.

    Args:
        folder: exists and is empty.
        row_format: of the rows.
        n: rows it will have.
        frames: frames of all rows together; n when the rows are not ragged.
        attributes: description, beside format and version.
        ids: of an artifact's rows; None for a segment.
    """

    def __init__(
        self,
        folder: Path,
        row_format: RowFormat,
        n: int,
        frames: int,
        attributes: Mapping[str, Any],
        ids: Strings | None = None,
    ) -> None:
        super().__init__(row_format, n, frames)
        self._folder = folder
        specs = array_specs(row_format, n, frames, segment=ids is None)
        metadata = {name: spec.document() for name, spec in specs.items()}
        if ids is not None:
            metadata["ids"] = strings_document(n)
            write_strings(folder / "ids", ids)
        self._document = group_document(describe(row_format, n, attributes), metadata)
        self._writers = {name: ArrayWriter(folder / name, spec) for name, spec in specs.items()}

    def put(self, name: str, block: np.ndarray) -> None:
        """See `RowGroupWriter.put`."""
        self._writers[name].append(block)

    def close(self) -> None:
        """See `RowGroupWriter.close`."""
        if self.format.ragged and not self._begun:
            self.put("offsets", np.zeros(1, "<i8"))
        for writer in self._writers.values():
            writer.close()
        (self._folder / "zarr.json").write_bytes(seal(self._document))

    def abandon(self) -> None:
        """See `RowGroupWriter.abandon`."""
        for writer in self._writers.values():
            writer.abandon()


def group_document(description: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The group's zarr.json."""
    return {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": {"hearonce": dict(description)},
        "consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": dict(metadata)},
    }


class ZarrGroup(RowGroup):
    """A group on the disk.

    Args:
        location: its folder.
        kind: what a user calls it, `segment` or `embedding cache`.
        document: its zarr.json, where that had to be reconstructed; then damaged indices are read past, too.

    Attributes:
        document: its zarr.json.

    Raises:
        FileNotFoundError: there is no group.
        UserError: it is of another version or program.
        DamageError: its description does not match its checksum.
    """

    def __init__(
        self, location: Location, kind: str = "embedding cache", document: dict[str, Any] | None = None
    ) -> None:
        self.path = str(location)
        self._location = location
        self.lenient = document is not None
        if document is None:
            data = location.read("zarr.json")
            document = unseal(data, "zarr.json") if is_own_json(data) else _foreign(data, self.path)
        attributes = document.get("attributes")
        self._describe(attributes.get("hearonce") if isinstance(attributes, dict) else None, kind)
        self.document = document
        consolidated = document.get("consolidated_metadata")
        metadata = consolidated.get("metadata") if isinstance(consolidated, dict) else None
        self._metadata: dict[str, Any] = metadata if isinstance(metadata, dict) else {}
        documented = ((name, self._metadata.get(name, {})) for name in self.claimed(0))
        self._specs = {
            name: spec for name, metadata in documented if (spec := ArraySpec.from_document(metadata)) is not None
        }
        self._arrays: dict[str, ShardedArray | PlainArray] = {}
        self._check_claims()

    def array(self, name: str) -> ShardedArray | PlainArray:
        """See `RowGroup.array`."""
        if name not in self._arrays:
            spec = self._specs.get(name)
            location = self._location.child(name)
            if spec is not None:
                self._arrays[name] = ShardedArray(location, spec, name, self.lenient)
            else:
                shape, dtype = self.claimed(0)[name]
                any_length = name == "values" and self.format.ragged
                try:
                    self._arrays[name] = PlainArray(
                        location, name, (None if any_length else shape[0], *shape[1:]), dtype
                    )
                except FileNotFoundError:
                    raise DamageError([Damage(f"{name}/zarr.json", None, "is missing")]) from None
        return self._arrays[name]

    def _check_claims(self) -> None:
        """Refuses metadata of arrays that are not the group's, before anything is read or memory taken for it.

        Raises:
            FalseClaim: an array has another shape or type, or has far more rows than its files can hold.
        """
        values = self._specs.get("values")
        most = 0
        for name, (shape, dtype) in self.claimed(values.shape[0] if values else 0).items():
            spec = self._specs.get(name)
            if self._metadata and name not in self._metadata:
                raise FalseClaim([Damage("zarr.json", None, f"does not describe its array {name}")])
            if spec is None:
                continue  # of another program: see `PlainArray`
            if (spec.shape, spec.dtype) != (shape, dtype):
                reason = f"claims {spec.shape} {spec.dtype}, which is not the {shape} {dtype} of its description"
                raise FalseClaim([Damage(f"{name}/zarr.json", None, reason)])
            most = max(most, shape[0])
        if max(most, len(self)) > _ROWS_BELIEVED:
            self._check_lengths()

    def _check_lengths(self) -> None:
        """Many rows are believed where a thousandth of them lies on the disk (a lost rest is damage)."""
        own = self._specs
        if "keys" not in own:
            _ = self.array("keys")  # of another program: `PlainArray` checks its files
            return
        held = {name: self._location.child(name).nbytes() // max(1, spec.row_bytes) for name, spec in own.items()}
        rows = max((n for name, n in held.items() if name != "values" or not self.format.ragged), default=0)
        claimed = [(name, spec.shape[0], max(rows, held[name])) for name, spec in own.items()]
        for name, length, there in [*claimed, ("zarr.json", len(self), rows)]:
            if length > _ROWS_BELIEVED + 1000 * there:
                raise FalseClaim([Damage(name, None, f"claims {length:,} rows, of which its files hold {there:,}")])

    def ids(self) -> list[str]:
        """See `RowGroup.ids`."""
        if self._metadata.get("ids") == strings_document(len(self)):
            return read_strings(self._location.child("ids"), len(self), "ids")
        try:
            plain = PlainArray(self._location.child("ids"), "ids", (len(self),), np.dtype(str))
        except FileNotFoundError:
            raise DamageError([Damage("ids/zarr.json", None, "is missing")]) from None
        return [str(text) for text in plain.read().tolist()]

    def damages(self, visit: Visit | None = None) -> list[Damage]:
        """See `RowGroup.damages`.

        Args:
            visit: gets the intact rows, or frames, of `values` as they are read, with the number of the first.
        """
        found: list[Damage] = []
        for name in (*self.claimed(0), "ids"):
            if name not in self._metadata:
                continue
            try:
                if self._location.child(name).read("zarr.json") != canonical_json(self._metadata[name]):
                    found.append(Damage(f"{name}/zarr.json", None, "is not what was written"))
            except FileNotFoundError:
                found.append(Damage(f"{name}/zarr.json", None, "is missing"))
            except FalseClaim as error:
                found += [Damage(f"{name}/zarr.json", None, damage.reason) for damage in error.damages]
        if "ids" in self._metadata:
            try:
                self.ids()
            except DamageError as error:
                found += error.damages
        for name in self.claimed(0):
            try:
                broken = self.array(name).damages(visit if name == "values" else None)
            except DamageError as error:
                found += error.damages
                continue
            if name == "offsets":
                broken = [_rows_of_offsets(damage, len(self)) for damage in broken] or self._false_offsets(
                    self.array(name).read()
                )
            elif name == "values":
                broken = self.rows_of_frames(broken)
            found += broken
        return found


def _rows_of_offsets(damage: Damage, n: int) -> Damage:
    """Row i needs offsets i and i + 1."""
    rows = damage.rows and (max(0, damage.rows[0] - 1), min(n, damage.rows[1]))
    return Damage(damage.file, rows, damage.reason)


def _foreign(data: bytes, path: str) -> dict[str, Any]:
    document = parse_json(data, "zarr.json")
    if not isinstance(document, dict):
        raise UserError(f"{path} is no embedding cache of hearonce.")
    return {"attributes": document.get("attributes")}
