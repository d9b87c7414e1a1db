"""Writes artifacts, from a row store or from one another, whole or not at all and a block at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cache import keys as row_keys
from cache.artifact import HDF5_SUFFIXES, Artifact
from cache.durable import new_directory, new_file
from cache.errors import UserError
from cache.lookup import Lookup
from cache.overwriting import target_of
from cache.row_format import RowFormat
from cache.row_store import RowStore
from cache.rows import Rows
from cache.strings import Strings
from cache.zarr_group import ZarrGroupWriter


def write_artifact(
    path: Path, ids: Strings, keys: row_keys.Keys | Lookup, rows: RowStore, description: Mapping[str, Any]
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
    if suffix in HDF5_SUFFIXES:
        from cache.hdf5_group import Hdf5GroupWriter

        with new_file(path) as file:
            with _filling(Hdf5GroupWriter(file, row_format, len(ids), frames, description, ids)) as append:
                yield append
        return
    with new_directory(path) as folder:
        with _filling(ZarrGroupWriter(folder, row_format, len(ids), frames, description, ids)) as append:
            yield append


@contextmanager
def _filling(writer: Any) -> Iterator[Callable[[Rows], None]]:
    try:
        yield writer.append
        writer.close()
    finally:
        writer.abandon()
