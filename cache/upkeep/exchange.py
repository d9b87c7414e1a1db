"""Rows between stores, and between people: merge two stores, export rows with their ids and keys, import them again."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cache.artifact import HDF5_SUFFIXES, Artifact, convert, open_artifact, target_of, write_artifact
from cache.errors import UserError, writing
from cache.formats import feature_files
from cache.formats.group import rows_per_block
from cache.keys import KeyIndex, Keys, pack_keys, unpack_keys
from cache.location import RemoteLocation, location_of
from cache.row_store import RowStore
from cache.rows import Rows

FORMATS = ("zarr", "hdf5", *feature_files.FORMATS)
_SUFFIXES = {"zarr": (".zarr",), "hdf5": HDF5_SUFFIXES, **{name: (f".{name}",) for name in feature_files.FORMATS}}


def merge(source: RowStore, target: RowStore) -> int:
    """Adds to one store the rows of another that it lacks, with their provenance.

    Returns:
        Number of rows added.

    Raises:
        UserError: the stores are of different encoders or formats, the source is damaged, or a row of it is one that
            no store takes; rows before that one are added.
    """
    target.check_same(source.format, source.description.fingerprint)
    added = 0
    for group in list(source.groups.values()):
        absent = group.keys[target.lookup(group.keys).missing()]
        with target.writer(group.description.get("provenance")) as writer:
            for rows in source.blocks(absent):
                rows.check(source.path)
                writer.add_rows(rows)
        added += writer.committed
    for sentence in source.catalog.unreadable.values():
        raise UserError(f"{added} rows were added, and not all there are: {sentence}")
    return added


def export(source: Artifact | RowStore, path: Path | str, format: str | None = None) -> None:
    """Writes rows with their ids and keys into one file or folder that stands for itself.

    Args:
        source: an artifact, or a store; the ids of a store's rows are their keys in hex.
        path: file to make (folder for `zarr`), named as its format is; an older export there is replaced whole.
        format: one of `FORMATS`; by the suffix of the path if None.

    Raises:
        UserError: the format is unknown, the source is damaged, the disk refuses, or something else stands there;
            nothing is left behind.
    """
    format = format or _format_of(path)
    if format not in FORMATS:
        raise UserError(f"{path} was not written: rows are exported as {', '.join(FORMATS)}, not as {format!r}.")
    if Path(path).suffix not in _SUFFIXES[format]:
        raise UserError(f"{path} was not written: for {format} let the name end in {_SUFFIXES[format][0]}.")
    path = target_of(path)
    if isinstance(source, Artifact):
        if format in ("zarr", "hdf5"):
            convert(source, path)
        else:
            feature_files.write(source, path, format)
        return
    keys = source.keys()
    description = {"modality": source.description.modality, "fingerprint": source.description.fingerprint}
    ids = [key.hex() for key in unpack_keys(keys)]
    if format in ("zarr", "hdf5"):
        write_artifact(path, ids, keys, source, description)
        return
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            write_artifact(Path(folder) / "rows.zarr", ids, keys, source, description)
            feature_files.write(open_artifact(Path(folder) / "rows.zarr"), path, format)


def import_rows(
    source: Artifact | feature_files.Features | Path | str,
    store: RowStore,
    only: Keys | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> int:
    """Adds the rows of an exported file, or of an artifact, that the store lacks.

    Args:
        source: the file or artifact.
        store: takes the rows.
        only: keys of the rows to take; all if None.
        provenance: written beside the rows; the file's name by default.

    Returns:
        Number of rows added.

    Raises:
        UserError: the file is of another encoder or format, damaged, or no such file; nothing wrong is written.
    """
    opened = source if isinstance(source, (Artifact, feature_files.Features)) else open_rows(source)
    fingerprint = opened.description.get("fingerprint")
    if not isinstance(fingerprint, str):
        raise UserError(f"{opened.path} does not say which encoder made it (no fingerprint), so it was not imported.")
    try:
        store.check_same(opened.format, fingerprint)
    except UserError as error:
        raise UserError(f"{opened.path} was not imported: {error}") from None
    index = store.lookup(opened.keys).missing()
    if only is not None:
        index = index[KeyIndex([pack_keys(only)]).find(opened.keys[index]) >= 0]
    for rows in _checked(opened, index):
        store.append_rows(rows, provenance or {"imported": Path(opened.path).name})
    return len(index)


def check_store(source: RowStore) -> None:
    """Refuses a store of which a row is one that no store takes.

    Raises:
        UserError: a row is not finite or contradicts another of its key, or the store is damaged.
    """
    for rows in source.blocks():
        rows.check(source.path)


def check_rows(source: Artifact | feature_files.Features) -> None:
    """Refuses a file whose rows no store takes.

    Raises:
        UserError: a row is not finite, or the file is damaged.
    """
    for _ in _checked(source, np.flatnonzero(KeyIndex([source.keys]).first_rows())):
        pass


def _checked(source: Artifact | feature_files.Features, index: np.ndarray) -> Iterator[Rows]:
    step = rows_per_block(source.format, len(source.keys), source.shape[0])
    for start in range(0, len(index), step):
        rows = source.rows(index[start : start + step])
        rows.check(source.path)
        yield rows


def open_rows(source: Path | str) -> Artifact | feature_files.Features:
    """Opens an exported file or an artifact.

    Raises:
        UserError: it is no such file, or damaged.
    """
    format = _format_of(source)
    if format not in feature_files.FORMATS:
        return open_artifact(source)
    if isinstance(location_of(source), RemoteLocation):
        raise UserError(f"{source} is a URL: only Zarr and HDF5 are imported from there, so download it first.")
    return feature_files.read(Path(source), format)


def _format_of(path: Path | str) -> str:
    suffix = Path(str(path)).suffix
    return next((name for name, suffixes in _SUFFIXES.items() if suffix in suffixes), suffix)
