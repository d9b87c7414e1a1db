"""Level two: the rows of one corpus, encoder and modality in table order, read lazily whatever their format.

`zarr_group` and `hdf5` say how the formats lie on the disk; the same rows give the same bytes on every
machine: nothing in there depends on a date, a host or a path.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from cache.catalog import Lookup
from cache.durable import new_directory, new_file
from cache.errors import Damage, DamageError, FalseClaim, UserError
from cache.formats.group import RowGroup, RowGroupWriter, rows_per_block
from cache.formats.zarr_group import ZarrGroup, ZarrGroupWriter
from cache.formats.zarr_strings import Strings
from cache.keys import Keys
from cache.location import LocalLocation, Location, RemoteLocation, location_of
from cache.row_store import RowStore
from cache.rows import RowFormat, Rows

if TYPE_CHECKING:
    import dask.array
    import torch

HDF5_SUFFIXES = (".h5", ".hdf5", ".he5")

_IN_A_GROUP = ("zarr.json", "keys", "values", "offsets", "ids")
_SEARCHED_BYTES = 1 << 16


def open_artifact(path: Path | str, filesystem: Any = None) -> Artifact:
    """Opens an embedding cache lazily, Zarr or HDF5.

    Args:
        path: local path, or any URL of fsspec.
        filesystem: fsspec file system that `path` lies in, for example DVC's.

    Raises:
        UserError: it is missing, something else, damaged, or of another version.
    """
    return _opened(location_of(path, filesystem))


def _opened(location: LocalLocation | RemoteLocation) -> Artifact:
    if (
        location.path.is_file()
        if isinstance(location, LocalLocation)
        else location.path.endswith(HDF5_SUFFIXES) and location.names()
    ):
        return Artifact(_open_hdf5(location), location)
    try:
        return Artifact(ZarrGroup(location), location)
    except DamageError as error:
        raise _damaged(str(location), error) from None
    except FileNotFoundError:
        if isinstance(location, LocalLocation) and location.path.exists() and not location.path.is_dir():
            raise UserError(f"{location} is no file and no folder, so it is no embedding cache of hearonce.") from None
        if looks_like_artifact(location):
            raise _damaged(str(location), DamageError([Damage("zarr.json", None, "is missing")])) from None
        if location.names():
            raise UserError(f"{location} is no embedding cache of hearonce.") from None
        raise UserError(f"{location} is missing: run `dvc repro`, or `dvc pull` if a colleague has made it.") from None


def looks_like_artifact(location: Location) -> bool:
    """Whether a folder is an embedding cache in Zarr, perhaps one that has lost files."""
    names = location.names()
    return "zarr.json" in names or ("keys" in names and "values" in names)


def _open_hdf5(location: LocalLocation | RemoteLocation) -> RowGroup:
    from cache.formats.hdf5 import Hdf5Group  # h5py is only loaded by those who use it

    source = location.path if isinstance(location, LocalLocation) else location.filesystem.open(location.path, "rb")
    try:
        return Hdf5Group(str(location), source)
    except DamageError as error:
        raise _damaged(str(location), error) from None


def _damaged(path: str, error: DamageError) -> UserError:
    if isinstance(error, FalseClaim):
        return UserError(f"{path} is no embedding cache of hearonce: {error.damages[0]}: get it anew.")
    return DamageError(error.damages, f"{path} is damaged", "delete it and run `dvc repro`")


class Artifact:
    """A finished embedding cache.

    Attributes:
        path: where it lies.
        format: of its rows.
        description: modality, encoder, fingerprint.
    """

    def __init__(self, group: RowGroup, location: LocalLocation | RemoteLocation) -> None:
        self._group = group
        self._location = location
        self.path = group.path
        self.format: RowFormat = group.format
        self.description: Mapping[str, Any] = MappingProxyType(group.description)

    def __reduce__(self) -> tuple[Any, ...]:
        """Other processes, such as Dask's, open it anew; from another working directory, too."""
        location = self._location
        return _opened, (LocalLocation(location.path.absolute()) if isinstance(location, LocalLocation) else location,)

    def __len__(self) -> int:
        return len(self._group)

    @cached_property
    def ids(self) -> list[str]:
        """Clip or caption id of each row."""
        with self._naming_damage():
            return self._group.ids()

    @property
    def keys(self) -> np.ndarray:
        """Row key of each row, uint8 (n, 16)."""
        with self._naming_damage():
            return self._group.keys

    @property
    def offsets(self) -> np.ndarray | None:
        """Where each ragged row begins in the values, int64 (n + 1,); None for rows of one length."""
        with self._naming_damage():
            return self._group.offsets

    @cached_property
    def extra(self) -> Mapping[str, np.ndarray]:
        """The numbers beside the rows, each (n,)."""
        with self._naming_damage():
            return {name: self._group.array(f"side.{name}").read() for name in self.format.extra}

    @property
    def shape(self) -> tuple[int, int]:
        """(n, dim), or (frames of all rows, dim) when ragged."""
        return self._values.shape[0], self.format.dim

    def numpy(self) -> np.ndarray:
        """All values in `shape`; bfloat16 as float32.

        Raises:
            UserError: a chunk does not match its checksum.
        """
        with self._naming_damage():
            return self.format.decode(self._values.read())

    def torch(self) -> torch.Tensor:
        """All values in `shape`, in the dtype of the format."""
        with self._naming_damage():
            return self.format.as_torch(self._values.read())

    def dask(self, block_bytes: int = 32 << 20) -> dask.array.Array:
        """All values in `shape`, read a block at a time when computed; bfloat16 as float32."""
        import dask.array

        rows = max(1, block_bytes // self.format.row_bytes)
        return dask.array.from_array(_Lazy(self), chunks=(rows, self.format.dim), asarray=True, name=False)

    def __getitem__(self, selection: Any) -> np.ndarray | list[np.ndarray]:
        """Rows by slice, list or mask: (selected, dim), or a list of (frames, dim) when ragged; one row by number."""
        if isinstance(selection, (int, np.integer)):
            return self.row(int(selection))
        return self.rows(selection).numpy()

    def row(self, i: int) -> np.ndarray:
        """One row: (dim,), or (frames, dim) when ragged.

        Raises:
            IndexError: there is no such row.
        """
        return self.rows([range(len(self))[i]]).row(0)

    def part(self, i: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Frames start to stop of one ragged row, (frames, dim); no other frames are read."""
        offsets = self.offsets
        if offsets is None:
            raise ValueError(f"{self.path} has rows of one length, which have no parts")
        first, last = offsets[i : i + 2].tolist()
        stop = last if stop is None else min(last, first + stop)
        with self._naming_damage():
            return self.format.decode(self._values.read(min(first + start, stop), stop))

    def rows(self, selection: Any = slice(None)) -> Rows:
        """Rows by slice, list or mask, with keys and extra values, as stored."""
        with self._naming_damage():
            if isinstance(selection, slice):
                start, stop, step = selection.indices(len(self))
                if step == 1:
                    return self._group.rows(start, max(start, stop))
            return self._group.take(np.arange(len(self))[selection])

    def read_float32(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Rows start to stop as float32, (stop - start, dim); of a local Zarr cache converted out of the mapped files.

        Checksums are verified at the first read of a chunk. For galleries that are searched many times.

        Args:
            start: the first row.
            stop: the row behind the last one.
            out: float32 (stop - start, dim) that is filled and given back, where the rows are converted.

        Raises:
            UserError: a chunk does not match its checksum.
        """
        with self._naming_damage():
            values = self._values
            if (
                isinstance(self._location, LocalLocation)
                and hasattr(values, "read_float32")
                and self.format.dtype != "bfloat16"
            ):
                return values.read_float32(start, stop, out)
            return np.asarray(self.format.decode(values.read(start, stop)), np.float32)

    def blocks(self, rows: int | None = None) -> Iterator[Rows]:
        """All rows in order, some at a time; by default about 32 MiB."""
        step = rows or rows_per_block(self.format, len(self), self.shape[0])
        for start in range(0, len(self), step):
            yield self.rows(slice(start, start + step))

    def verify(self) -> list[Damage]:
        """Reads everything and lists what is damaged, with the rows it touches."""
        return self._group.damages()

    @property
    def _values(self) -> Any:
        return self._group.array("values")

    @contextmanager
    def _naming_damage(self) -> Iterator[None]:
        try:
            yield
        except DamageError as error:
            raise _damaged(self.path, error) from None
        except FileNotFoundError as error:
            raise UserError(f"{self.path} lacks {error.filename or error}: delete it and run `dvc repro`.") from None


class _Lazy:
    """What Dask slices."""

    ndim = 2

    def __init__(self, artifact: Artifact) -> None:
        self._artifact = artifact
        self.shape = artifact.shape
        self.dtype = artifact.format.decode(np.zeros((0, 1), artifact.format.storage)).dtype

    def __getitem__(self, selection: tuple[slice, slice]) -> np.ndarray:
        start, stop, step = selection[0].indices(self.shape[0])
        with self._artifact._naming_damage():
            stored = self._artifact._values.read(start, stop)
        return self._artifact.format.decode(stored)[::step, selection[1]]


def write_artifact(
    path: Path, ids: Strings, keys: Keys | Lookup, rows: RowStore, description: Mapping[str, Any]
) -> None:
    """Writes the rows of `keys` in order, whole or not at all.

    Args:
        path: folder to make (`.zarr`), or HDF5 file (`.h5`, `.hdf5`); an artifact that stood there is replaced, never
            written into.
        ids: clip or caption id of each row.
        keys: row key of each row; all present in `rows`.
        rows: where the values come from.
        description: modality, encoder and fingerprint; nothing that differs between machines.

    Raises:
        KeyError: a key has no row.
        UserError: the store is damaged, the disk is full or read-only, or what stands there is no artifact; nothing
            is written.
    """
    wanted = rows.lookup(keys)
    write_blocks(path, rows.format, ids, rows.frames(wanted), rows.blocks(wanted), description)


def convert(artifact: Artifact, path: Path | str) -> None:
    """Writes an artifact in the other (or the same) format, without loss: and back gives the original bytes.

    Args:
        artifact: the rows.
        path: as of `write_artifact`.
    """
    write_blocks(path, artifact.format, artifact.ids, artifact.shape[0], artifact.blocks(), artifact.description)


def write_blocks(
    path: Path | str,
    row_format: RowFormat,
    ids: Strings,
    frames: int,
    blocks: Iterable[Rows],
    description: Mapping[str, Any],
) -> None:
    """Writes rows that come in the blocks of `RowStore.blocks` or `Artifact.blocks`; others change HDF5's bytes.

    Args:
        path: as of `write_artifact`.
        row_format: of the rows.
        ids: of all rows.
        frames: of all rows together; their number when they are not ragged.
        blocks: the rows.
        description: of the artifact.
    """
    with artifact_writer(path, row_format, ids, frames, description) as append:
        for rows in blocks:
            append(rows)


@contextmanager
def artifact_writer(
    path: Path | str, row_format: RowFormat, ids: Strings, frames: int, description: Mapping[str, Any]
) -> Iterator[Callable[[Rows], None]]:
    """Opens an artifact to append all its rows to, in order; it is there when the block ends, whole or not at all.

    Args:
        path: as of `write_artifact`.
        row_format: of the rows.
        ids: of all rows.
        frames: as of `write_blocks`.
        description: of the artifact.
    """
    suffix = Path(path).suffix
    if suffix not in (".zarr", *HDF5_SUFFIXES):
        raise UserError(f"{path} was not written: an embedding cache ends in .zarr, {' or '.join(HDF5_SUFFIXES[:2])}.")
    path = target_of(path)
    new: Callable[[Path], AbstractContextManager[Path]] = new_directory
    group_writer: Callable[..., RowGroupWriter] = ZarrGroupWriter
    if suffix in HDF5_SUFFIXES:
        from cache.formats.hdf5 import Hdf5GroupWriter

        new, group_writer = new_file, Hdf5GroupWriter
    with new(path) as temporary:
        writer = group_writer(temporary, row_format, len(ids), frames, description, ids)
        try:
            yield writer.append
            writer.close()
        finally:
            writer.abandon()


def target_of(path: Path | str) -> Path:
    """The path to write an artifact or export to.

    Raises:
        UserError: it is a URL, or something stands there that hearonce did not make.
    """
    if "://" in str(path):
        raise UserError(f"{path} was not written: it is a URL, so write to a folder of this machine and upload that.")
    path = Path(path)
    if not path.exists():
        return path
    if not (_is_group(path) if path.suffix == ".zarr" else _is_file_of_ours(path)):
        raise UserError(
            f"{path} was not written: something that hearonce did not make stands there, so move it away or choose "
            "another name."
        )
    return path


def _is_group(path: Path) -> bool:
    """Whether a folder is empty or a Zarr artifact, perhaps a damaged one, and holds nothing else."""
    if not path.is_dir():
        return False
    names = set(os.listdir(path))
    if any(name not in _IN_A_GROUP and not name.startswith("side.") for name in names):
        return False
    description = path / "zarr.json"
    return not names or (b"hearonce" in description.read_bytes() if description.is_file() else "values" in names)


def _is_file_of_ours(path: Path) -> bool:
    """Whether a file is empty, or has near its beginning or end the word that every format of ours puts there."""
    if not path.is_file():
        return path.is_dir() and not os.listdir(path)
    with open(path, "rb") as file:
        beginning = file.read(_SEARCHED_BYTES)
        file.seek(max(0, path.stat().st_size - _SEARCHED_BYTES))
        return not beginning or b"hearonce" in beginning or b"hearonce" in file.read()
