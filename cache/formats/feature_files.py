"""Feature files as others publish them: npz, Parquet, safetensors; ids and keys travel with the values.

Each carries the arrays of `group` and a JSON text `hearonce` with description, format, the CRC-32C of each array
as hearonce stores it (but of the ids, which import does not read) and of the text itself. numpy and Parquet have no
bfloat16 and few readers of Parquet know float16, so these become float32 there, which loses nothing; import makes them
what they were. npz and safetensors are written a block at a time, Parquet in memory.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from google_crc32c import extend

from cache.artifact import Artifact
from cache.durable import new_file
from cache.errors import DamageError, UserError, is_damage, unreadable
from cache.formats.group import check_schema, describe
from cache.json_documents import CHECKSUM, parse_json, seal, unseal
from cache.keys import KEY_BYTES, pack_keys, unpack_keys
from cache.rows import RowFormat, Rows

FORMATS = ("npz", "parquet", "safetensors")

_MOST_ARRAYS = 100
_MOST_RATIO = 100
"""Rows of an encoder are never packed as tightly."""

_FREE_BYTES = 16 << 20

_OWN = ("schema", "format", "rows", "crc32c", CHECKSUM)

_SAFETENSORS = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_SAFETENSORS_OTHER = {"uint8": "U8", "int32": "I32", "int64": "I64", "float32": "F32", "float64": "F64"}


def write(artifact: Artifact, path: Path, format: str) -> None:
    """Writes an artifact's rows into one file, whole or not at all."""
    writers = {"npz": _write_npz, "parquet": _write_parquet, "safetensors": _write_safetensors}
    with new_file(path) as temporary:
        writers[format](artifact, temporary)


@dataclass(frozen=True)
class Features:
    """What such a file holds, in memory; as an `Artifact` has it.

    Attributes:
        path: of the file.
        description: modality, encoder, fingerprint.
        everything: the rows.
    """

    path: str
    description: Mapping[str, Any]
    everything: Rows

    @property
    def format(self) -> RowFormat:
        """Of the rows."""
        return self.everything.format

    @property
    def keys(self) -> np.ndarray:
        """Row keys, uint8 (n, 16)."""
        return self.everything.keys

    @property
    def shape(self) -> tuple[int, int]:
        """(n, dim), or (frames of all rows, dim) when ragged."""
        return self.everything.values.shape[0], self.format.dim

    def rows(self, selection: np.ndarray) -> Rows:
        """Rows by number."""
        return self.everything.take(selection)


def read(path: Path, format: str) -> Features:
    """Reads such a file.

    Raises:
        UserError: it is missing, cannot be read, or was not exported by hearonce.
    """
    readers = {"npz": _read_npz, "parquet": _read_parquet, "safetensors": _read_safetensors}
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is no file, so it was not read.")
    try:
        text, columns = readers[format](path)
        if text is None:
            raise UserError(f"{path} does not say which encoder made its rows (no entry `hearonce`): export it anew.")
        found = _opened(text)
        check_schema(found, path, "feature file")
        row_format = RowFormat.from_json(found["format"])
        keys = pack_keys(columns["keys"])
        values = row_format.encode(columns["values"]).reshape(-1, row_format.dim)
        offsets = columns["offsets"].astype(np.int64) if row_format.ragged else None
        extra = {name: columns[f"side.{name}"].astype(kind) for name, kind in row_format.extra.items()}
        rows = Rows(row_format, keys, values, offsets, extra)
        if not rows.fit():
            raise ValueError("its arrays differ in length")
        checksums = _checksums(rows, _crc(values))
        wrong = [name for name, checksum in checksums.items() if found["crc32c"][name] != checksum]
        if wrong:
            raise ValueError(f"its {' and '.join(wrong)} do not match their checksum")
        return Features(str(path), {k: v for k, v in found.items() if k not in _OWN}, rows)
    except FileNotFoundError:
        raise UserError(f"{path} is missing.") from None
    except OSError as error:
        if is_damage(error):
            raise UserError(f"{path} cannot be read as {format} of hearonce ({error}): get it again.") from None
        raise unreadable(path, error) from None
    except (Exception, pl.exceptions.PanicException) as error:  # damaged bytes may raise anything in three parsers
        if isinstance(error, UserError) and str(error).startswith(str(path)):
            raise
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise UserError(f"{path} cannot be read as {format} of hearonce ({reason}): get it again.") from None


def _text(artifact: Artifact, values_crc: int = 0) -> str:
    """The text `hearonce`; its length is the same whatever the checksums."""
    beside = {**artifact.description, "crc32c": _checksums(artifact, values_crc)}
    return seal(describe(artifact.format, len(artifact), beside)).decode()


def _checksums(source: Artifact | Rows, values_crc: int) -> dict[str, str]:
    found = {"values": values_crc, **{name: _crc(array) for name, array in _small(source).items()}}
    return {name: f"{crc:08x}" for name, crc in found.items()}


def _opened(text: str) -> dict[str, Any]:
    try:
        return unseal(text.encode(), "its text `hearonce`")
    except DamageError as error:
        raise ValueError(str(error)) from None


def _crc(array: np.ndarray, before: int = 0) -> int:
    return int(extend(before, array.tobytes()))


def _small(source: Artifact | Rows) -> dict[str, np.ndarray]:
    """All arrays but the values and the ids."""
    arrays = {"keys": source.keys}
    if source.offsets is not None:
        arrays["offsets"] = source.offsets
    return {**arrays, **{f"side.{name}": column for name, column in source.extra.items()}}


def _write_npz(artifact: Artifact, path: Path) -> None:
    ids = np.array(artifact.ids, dtype=np.str_) if artifact.ids else np.zeros(0, "U1")
    arrays = {"ids": ids, **_small(artifact)}
    kind = artifact.format.decode(np.zeros((0, 1), artifact.format.storage)).dtype
    header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": artifact.shape}
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            _write_npy(archive, name, array)
        crc = 0
        with archive.open(zipfile.ZipInfo("values.npy"), "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(file, header)  # type: ignore[arg-type]
            for rows in artifact.blocks():
                file.write(np.ascontiguousarray(artifact.format.decode(rows.values)).data)
                crc = _crc(rows.values, crc)
        _write_npy(archive, "hearonce", np.array(_text(artifact, crc)))


def _write_npy(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
        np.lib.format.write_array(file, array, allow_pickle=False)


def _read_npz(path: Path) -> tuple[str | None, dict[str, Any]]:
    columns = {}
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.removesuffix(".npy") not in ("ids", "README")]
        if len(set(names)) < len(names) or len(names) > _MOST_ARRAYS:
            raise ValueError("it has arrays of one name, or far too many")
        total = sum(archive.getinfo(name).file_size for name in names)
        if total > _FREE_BYTES + _MOST_RATIO * path.stat().st_size:
            raise ValueError(f"it would unpack to {total:,} bytes")
        for name in names:
            columns[name.removesuffix(".npy")] = _read_npy(archive, name)
    return (str(columns["hearonce"]) if "hearonce" in columns else None), columns


def _read_npy(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """An array, once its header is known to claim as many bytes as there are."""
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, fortran, dtype = header[version](file)
        claimed, there = math.prod(shape) * dtype.itemsize, archive.getinfo(name).file_size
        if dtype.hasobject or fortran or any(length < 0 for length in shape) or claimed > there:
            raise ValueError(f"{name} claims {claimed:,} bytes of {dtype}, and is one of {there:,}")
        data = file.read(claimed)
        if len(data) != claimed or file.read(1):  # at its end the CRC-32 of the archive is checked
            raise ValueError(f"{name} does not hold what it claims")
    return np.frombuffer(data, dtype).reshape(shape) if claimed else np.zeros(shape, dtype)


def _write_parquet(artifact: Artifact, path: Path) -> None:
    row = pl.Array(pl.Float32, artifact.format.dim)
    frames = []
    crc = 0
    for block in artifact.blocks():
        crc = _crc(block.values, crc)
        values = pl.Series(artifact.format.decode(block.values).astype(np.float32), dtype=row)
        if block.offsets is not None:
            owner = np.repeat(np.arange(len(block), dtype=np.int64), np.diff(block.offsets))
            grouped = pl.DataFrame({"owner": owner, "values": values}).group_by("owner", maintain_order=True).all()
            every = pl.DataFrame({"owner": np.arange(len(block), dtype=np.int64)})
            joined = every.join(grouped, on="owner", how="left", maintain_order="left")
            values = joined["values"].fill_null(pl.Series([[]], dtype=pl.List(row)))
        columns = {"key": pl.Series(unpack_keys(block.keys), dtype=pl.Binary), "values": values}
        frames.append(pl.DataFrame({**columns, **{f"side.{name}": column for name, column in block.extra.items()}}))
    kinds: dict[str, Any] = {"key": pl.Binary, "values": pl.List(row) if artifact.format.ragged else row}
    none = pl.DataFrame(schema=kinds) if not frames else frames.pop(0)
    table = pl.concat([none, *frames]).insert_column(0, pl.Series("id", artifact.ids, dtype=pl.String))
    table.write_parquet(path, metadata={"hearonce": _text(artifact, crc)})


def _read_parquet(path: Path) -> tuple[str | None, dict[str, Any]]:
    text = pl.read_parquet_metadata(path).get("hearonce")
    if text is None:
        return None, {}
    row_format = RowFormat.from_json(_opened(text)["format"])
    lazy = pl.scan_parquet(path)
    n = int(lazy.select(pl.len()).collect().item())
    if n * KEY_BYTES > _FREE_BYTES + _MOST_RATIO * path.stat().st_size:
        raise ValueError(f"it claims {n:,} rows")
    row = pl.Array(pl.Float32, row_format.dim)
    kinds = {"key": pl.Binary(), "values": pl.List(row) if row_format.ragged else row}
    schema = lazy.collect_schema()
    if any(schema.get(name) != kind for name, kind in kinds.items()):
        raise ValueError(f"its columns are {str(dict(schema))[:200]}")
    table = lazy.select(pl.exclude("id")).collect()
    columns: dict[str, Any] = {name: table[name].to_numpy() for name in table.columns if name.startswith("side.")}
    columns.update({f"side.{name}": np.zeros(0) for name in row_format.extra if f"side.{name}" not in columns})
    columns["keys"] = pack_keys(table["key"].to_list())
    values = table["values"]
    if row_format.ragged:
        columns["offsets"] = np.concatenate([[0], np.cumsum(values.list.len().to_numpy(), dtype=np.int64)])
        values = values.filter(values.list.len() > 0).explode()
    columns["values"] = values.to_numpy().reshape(-1, row_format.dim)
    return text, columns


def _write_safetensors(artifact: Artifact, path: Path) -> None:
    ids = np.frombuffer(json.dumps(artifact.ids).encode(), np.uint8)
    small = {"ids": ids, **_small(artifact)}
    # The values come first: readers want tensors aligned, and a row of ids may have any length.
    order = ["values", *sorted(small, key=lambda name: -small[name].dtype.itemsize)]
    tensors: dict[str, Any] = {}
    at = 0
    for name in order:
        kind = _SAFETENSORS[artifact.format.dtype] if name == "values" else _SAFETENSORS_OTHER[small[name].dtype.name]
        shape = artifact.shape if name == "values" else small[name].shape
        size = artifact.shape[0] * artifact.format.row_bytes if name == "values" else small[name].nbytes
        tensors[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    with open(path, "wb") as file:
        file.write(_safetensors_header(_text(artifact), tensors))
        crc = 0
        for rows in artifact.blocks():
            file.write(np.ascontiguousarray(rows.values).data)
            crc = _crc(rows.values, crc)
        for name in order[1:]:
            file.write(np.ascontiguousarray(small[name]).data)
        file.seek(0)
        file.write(_safetensors_header(_text(artifact, crc), tensors))


def _safetensors_header(text: str, tensors: Mapping[str, Any]) -> bytes:
    header = json.dumps({"__metadata__": {"hearonce": text}, **tensors}).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header


def _read_safetensors(path: Path) -> tuple[str | None, dict[str, Any]]:
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            raise ValueError("its header is longer than the file")
        header = parse_json(file.read(length), "its header")
    text = header.get("__metadata__", {}).get("hearonce")
    if text is None:
        return None, {}
    row_format = RowFormat.from_json(_opened(text)["format"])
    numbers = {kind: name for name, kind in _SAFETENSORS_OTHER.items()}
    columns = {}
    for name, tensor in header.items():
        if name in ("__metadata__", "ids"):
            continue
        kind = row_format.storage if name == "values" else np.dtype(numbers[tensor["dtype"]])
        if name == "values" and tensor["dtype"] != _SAFETENSORS[row_format.dtype]:
            raise ValueError(f"its values are {tensor['dtype']}, not {row_format.dtype}")
        start, stop = tensor["data_offsets"]
        if not all(type(length) is int and length >= 0 for length in tensor["shape"]):
            raise ValueError(f"its {name} have the shape {str(tensor['shape'])[:80]}")
        if not 0 <= start <= stop <= path.stat().st_size - 8 - length:
            raise ValueError(f"its {name} are not within the file")
        data = np.fromfile(path, np.uint8, stop - start, offset=8 + length + start)
        columns[name] = data.view(kind).reshape(tensor["shape"])
    columns["values"] = row_format.decode(columns["values"])
    return text, columns
