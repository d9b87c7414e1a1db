"""Row groups as Zarr v3 groups: what segments are, and artifacts by default.

Layout, for reading without this code::

    <group>/
        zarr.json           attributes: hearonce = {schema, format, rows, ..., hearonce_crc32c}; all arrays' metadata
        keys/               uint8 (n, 16)
        values/             (n, dim), or (frames of all rows, dim) when ragged; bfloat16 as its 16 bits in uint16
        offsets/            int64 (n + 1,), only when ragged: row i is values[offsets[i] : offsets[i + 1]]
        side.<name>/        (n,), one number per row
        ids/                string (n,), only in artifacts

Each folder holds its zarr.json and shard files `c.0.0`, `c.1.0`, ... as `array_spec` explains them. zarr.json of the
group ends the writing: a group without it is not there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cache import documents, strings
from cache.array_reader import ShardedArray
from cache.array_spec import ARTIFACT_SHARD_BYTES, SEGMENT_SHARD_BYTES, ArraySpec
from cache.array_writer import ArrayWriter
from cache.errors import Damage, DamageError, UserError
from cache.places import Place
from cache.plain_array import PlainArray
from cache.row_format import RowFormat
from cache.row_group import RowGroup, RowGroupWriter, StoredArray, describe, layout


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
        ids: strings.Strings | None = None,
    ) -> None:
        super().__init__(row_format, n, frames)
        self._folder = folder
        specs = array_specs(row_format, n, frames, segment=ids is None)
        metadata = {name: spec.document() for name, spec in specs.items()}
        if ids is not None:
            metadata["ids"] = strings.document(n)
            strings.write_strings(folder / "ids", ids)
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
        (self._folder / "zarr.json").write_bytes(documents.sealed(self._document))

    def abandon(self) -> None:
        """Closes open files after an error."""
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
        place: its folder.
        kind: what a user calls it, `segment` or `embedding cache`.
        document: its zarr.json, where that had to be reconstructed; then damaged indices are read past, too.

    Attributes:
        document: its zarr.json.

    Raises:
        FileNotFoundError: there is no group.
        UserError: it is of another version or program.
        DamageError: its description does not match its checksum.
    """

    def __init__(self, place: Place, kind: str = "embedding cache", document: dict[str, Any] | None = None) -> None:
        self.path = str(place)
        self._place = place
        self.lenient = document is not None
        if document is None:
            data = place.read("zarr.json")
            document = documents.opened(data, "zarr.json") if documents.is_ours(data) else _foreign(data, self.path)
        attributes = document.get("attributes")
        self._describe(attributes.get("hearonce") if isinstance(attributes, dict) else None, kind)
        self.document = document
        self._metadata = document.get("consolidated_metadata", {}).get("metadata", {})
        self._arrays: dict[str, StoredArray] = {}

    def array(self, name: str) -> StoredArray:
        """See `RowGroup.array`."""
        if name not in self._arrays:
            spec = ArraySpec.from_document(self._metadata.get(name, {}))
            place = self._place.child(name)
            self._arrays[name] = (
                PlainArray(place, name) if spec is None else ShardedArray(place, spec, name, self.lenient)
            )
        return self._arrays[name]

    def ids(self) -> list[str]:
        """See `RowGroup.ids`."""
        if self._metadata.get("ids") == strings.document(len(self)):
            return strings.read_strings(self._place.child("ids"), len(self), "ids")
        return [str(one) for one in PlainArray(self._place.child("ids"), "ids").read().tolist()]

    def damages(self) -> list[Damage]:
        """See `RowGroup.damages`."""
        found: list[Damage] = []
        for name, document in self._metadata.items():
            try:
                if self._place.child(name).read("zarr.json") != documents.plain(document):
                    found.append(Damage(f"{name}/zarr.json", None, "is not what was written"))
            except FileNotFoundError:
                found.append(Damage(f"{name}/zarr.json", None, "is missing"))
        if "ids" in self._metadata:
            try:
                self.ids()
            except DamageError as error:
                found += error.damages
        for name in layout(self.format, 0, 0):
            broken = self.array(name).damages()
            if name == "offsets":
                broken = [_rows_of_offsets(one, len(self)) for one in broken]
            elif name == "values":
                broken = self.rows_of_frames(broken)
            found += broken
        return found


def _rows_of_offsets(damage: Damage, n: int) -> Damage:
    """Row i needs offsets i and i + 1."""
    rows = damage.rows and (max(0, damage.rows[0] - 1), min(n, damage.rows[1]))
    return Damage(damage.file, rows, damage.reason)


def _foreign(data: bytes, path: str) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except ValueError:
        raise DamageError([Damage("zarr.json", None, "is no JSON")]) from None
    if not isinstance(document, dict):
        raise UserError(f"{path} is no embedding cache of hearonce.")
    return {"attributes": document.get("attributes")}
