"""What a run of an encoder needs wherever its rows are made: readers and loaders that can be sent to other machines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, Self

import polars as pl

from cache.keys import KeyIndex, Keys, pack_keys
from pipeline.cluster.row_making import ClusterMaker
from pipeline.cluster.running import Cluster
from pipeline.cluster.worker import OtherFiles
from pipeline.device import describe, pick_device
from pipeline.fingerprints import fingerprint_of
from pipeline.row_making import Encoding, Load, LocalMaker, RowMaker
from pipeline.wanted_rows import Row, taken
from stages.embed.encoder import Encoder, Modality
from stages.embed.loading import identity_of, load_tower


@dataclass(frozen=True)
class RunOptions:
    """How one run goes about it; none of these changes a result by more than rounding.

    Attributes:
        strict: the first problem ends the run.
        keep_going: problems do not make the command fail.
        workers: reading threads; by default as many as processors, and more while that is of use.
        batch_size: rows per forward pass; what is best for the device by default.
        device: `cpu`, `cuda`, ...; a GPU if any by default.
        compiled: networks run through torch.compile.
        cluster: that computes; this process by default.
        force: it begins even if the disk seems too small.
        dry_run: it only says what it would do.
    """

    strict: bool
    keep_going: bool
    workers: int | None
    batch_size: int | None
    device: str | None
    compiled: bool = False
    cluster: Cluster | None = None
    force: bool = False
    dry_run: bool = False


class Reader(Protocol):
    """Reads items; what is sent to another process is the part that it needs there."""

    def read(self, group: Sequence[Row]) -> Iterable[tuple[Row, Any]]:
        """Yields (row, item) for rows of one group; an exception stands for what failed."""

    def part(self, rows: Sequence[Row]) -> Self:
        """A reader of these rows alone."""


class CaptionReader:
    """Texts by row key.

    Args:
        keys: uint8 (n, 16).
        texts: n captions.
    """

    def __init__(self, keys: Keys, texts: pl.Series) -> None:
        self._keys, self._texts = pack_keys(keys), texts

    @cached_property
    def _index(self) -> KeyIndex:
        return KeyIndex([self._keys])

    def _texts_of(self, rows: Sequence[Row]) -> pl.Series:
        return taken(self._texts, self._index.find([row.key for row in rows]))

    def read(self, group: Sequence[Row]) -> Iterator[tuple[Row, str]]:
        """See `Reader`."""
        return zip(group, self._texts_of(group), strict=True)

    def part(self, rows: Sequence[Row]) -> CaptionReader:
        """See `Reader`."""
        return CaptionReader([row.key for row in rows], self._texts_of(rows))


@dataclass(frozen=True)
class TowerLoader:
    """Loads one tower of an encoder.

    Attributes:
        encoder: whose.
        modality: which.
        fingerprint: that it must have, wherever it is loaded.
        device: `cpu`, `cuda`, ...; a GPU if any by default.
        compiled: its networks run through torch.compile.
    """

    encoder: Encoder
    modality: Modality
    fingerprint: str
    device: str | None
    compiled: bool

    def __call__(self) -> tuple[Encoding, Mapping[str, Any]]:
        """The tower, and what describes the device.

        Raises:
            UserError: it cannot be loaded, or the files here are not those that the run was planned with.
        """
        device = pick_device(self.device)
        self._check()
        tower = load_tower(self.encoder, self.modality, device, self.compiled)
        self._check()  # they may have been replaced meanwhile
        return tower, describe(device)

    def _check(self) -> None:
        if fingerprint_of(identity_of(self.encoder, self.modality))[0] != self.fingerprint:
            raise OtherFiles()


def row_maker(reader: Reader, load: Load, options: RunOptions) -> RowMaker:
    """Makes rows in this process, or on the cluster that the options name."""
    if options.cluster is None:
        return LocalMaker(reader.read, load, batch_size=options.batch_size, workers=options.workers)
    return ClusterMaker(options.cluster, reader, load, batch_size=options.batch_size, workers=options.workers)
