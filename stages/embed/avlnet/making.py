"""What a run of an AVLnet needs wherever its rows are made: each process opens features and network once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.checkpoints.official import existing
from pipeline.cluster.worker import OtherFiles
from pipeline.device import describe, pick_device
from pipeline.fingerprints import digest_of
from pipeline.row_making import Encoding
from pipeline.wanted_rows import Row
from stages.embed.avlnet.config import AvlNetConfig
from stages.embed.avlnet.sides import FeatureSides, Item, SideRows

if TYPE_CHECKING:
    from pipeline.networks.avlnet import AvlNet


@dataclass(frozen=True)
class FeatureReader:
    """Reads the rows of one side from cached features.

    Attributes:
        corpus: whose clips and captions.
        config: of the encoder.
        side: `sound`, `picture`, `text` or `sound_text`.
        run: names the run, so that no process takes the features that another run has opened for those of this one.
        sources: caption sources whose texts are embedded; None for all.
    """

    corpus: str
    config: AvlNetConfig
    side: str
    run: str
    sources: frozenset[str] | None = None

    def read(self, group: Sequence[Row]) -> Iterator[tuple[Row, Item]]:
        """Yields rows of one group with what the network is given."""
        return self.side_rows().read(group)

    def side_rows(self) -> SideRows:
        """All rows of the side."""
        return _opened(self.corpus, self.config, self.side, self.run, self.sources)

    def part(self, rows: Sequence[Row]) -> FeatureReader:
        """The same: any process can read all features."""
        return self


@dataclass(frozen=True)
class SideLoader:
    """Loads one side of an AVLnet.

    Attributes:
        checkpoint: its weights.
        digest: of the checkpoint's bytes, wherever it is loaded.
        side: which.
        device: `cpu`, `cuda`, ...; a GPU if any by default.
    """

    checkpoint: Path
    digest: str
    side: str
    device: str | None

    def __call__(self) -> tuple[Encoding, Mapping[str, Any]]:
        """The side's network, and what describes the device.

        Raises:
            UserError: it cannot be loaded, or is not the one that the run was planned with.
        """
        from stages.embed.avlnet.tower import JoinedTower, SideTower

        device = pick_device(self.device)
        self._check()
        net = network(self.checkpoint).to(device)
        joined = self.side == "sound_text"
        tower = JoinedTower(net, device) if joined else SideTower(getattr(net, self.side), device)
        self._check()  # it may have been replaced meanwhile
        return tower, describe(device)

    def _check(self) -> None:
        if digest_of(existing(self.checkpoint)) != self.digest:
            raise OtherFiles()


def network(checkpoint: Path) -> AvlNet:
    """The network of a checkpoint, loaded once for all its sides.

    Raises:
        UserError: the file is missing or is none.
    """
    return _network(existing(checkpoint), digest_of(checkpoint))


@lru_cache(1)
def _network(checkpoint: Path, digest: str) -> AvlNet:
    from pipeline.networks.avlnet import load_avlnet

    return load_avlnet(checkpoint)


@lru_cache(4)
def _opened(corpus: str, config: AvlNetConfig, side: str, run: str, sources: frozenset[str] | None) -> SideRows:
    return _features(corpus, config, run, sources).of(side)


@lru_cache(1)
def _features(corpus: str, config: AvlNetConfig, run: str, sources: frozenset[str] | None) -> FeatureSides:
    return FeatureSides(corpus, config, sources)
