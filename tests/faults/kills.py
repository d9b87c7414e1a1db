"""What writes into stores, killed at random moments: nothing committed is lost, and the next run completes."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from faults.killing import in_child, kill_at_random
from faults.material import FINGERPRINT, RAGGED, batch, check_store, ensure, everything, fill, key

from cache.artifact import convert, open_artifact, write_artifact
from cache.row_store import RowStore
from cache.upkeep.compaction import compact, drop_contradictions, gc
from cache.upkeep.exchange import export, import_rows, merge
from cache.upkeep.repair import repair, verify

N = 80
Tally = Counter[tuple[str, str]]


@dataclass(frozen=True)
class Victim:
    """Something to kill.

    Attributes:
        make: sets up a folder.
        work: what is killed, in that folder.
        kept: numbers of rows that must be there after any kill.
        after: numbers that are there once `work` has ended; None where no store is written.
    """

    make: Callable[[Path], object]
    work: Callable[[Path], object]
    kept: Iterable[int] = ()
    after: Iterable[int] | None = None


def _store(root: Path) -> RowStore:
    return fill(root / "rows", RAGGED, *(range(start, start + 10) for start in range(0, N, 10)), range(5, 15))


def _damaged(root: Path) -> None:
    store = _store(root)
    path = Path(store.path) / "segments" / store.segments.names()[2] / "keys/c.0.0"
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    path.write_bytes(data)


def _contradictory(root: Path) -> None:
    store = _store(root)
    rows = batch(range(41, 44), RAGGED)  # row 40 has no frames
    rows.values[...] = -rows.values
    store.append_rows(rows)


def _artifact(root: Path, suffix: str = ".zarr") -> None:
    store = _store(root)
    keys = [key(i) for i in range(N)]
    description = {"modality": "captions", "fingerprint": FINGERPRINT}
    write_artifact(root / f"a{suffix}", [f"{i}" for i in range(N)], keys, store, description)


def _exported(root: Path, format: str) -> None:
    _artifact(root)
    export(open_artifact(root / "a.zarr"), root / f"a.{format}")
    shutil.rmtree(root / "rows")
    fill(root / "rows", RAGGED, range(70, N))


def _merging(root: Path) -> None:
    _store(root)
    (root / "rows").rename(root / "source")
    fill(root / "rows", RAGGED, range(70, N))


def _of(root: Path, name: str = "rows") -> RowStore:
    return ensure(root / name, RAGGED)


VICTIMS: dict[str, Victim] = {
    "compact": Victim(_store, lambda root: compact(_of(root)), range(N), range(N)),
    "gc": Victim(_store, lambda root: gc(_of(root), [key(i) for i in range(0, N, 2)]), range(0, N, 2), range(0, N, 2)),
    "repair": Victim(
        _damaged, lambda root: repair(_of(root).path), [*range(20), *range(30, N)], [*range(20), *range(30, N)]
    ),
    "repair of contradictions": Victim(
        _contradictory, lambda root: drop_contradictions(_of(root)), [*range(41), *range(44, N)], None
    ),
    "merge": Victim(_merging, lambda root: merge(_of(root, "source"), _of(root)), range(70, N), range(N)),
    "import of Zarr": Victim(
        lambda root: _exported(root, "zarr2.zarr"),
        lambda root: import_rows(root / "a.zarr", _of(root)),
        range(70, N),
        range(N),
    ),
    "import of npz": Victim(
        lambda root: _exported(root, "npz"), lambda root: import_rows(root / "a.npz", _of(root)), range(70, N), range(N)
    ),
    "export as npz": Victim(_artifact, lambda root: export(open_artifact(root / "a.zarr"), root / "b.npz")),
    "export as parquet": Victim(_artifact, lambda root: export(open_artifact(root / "a.zarr"), root / "b.parquet")),
    "export of a store": Victim(_store, lambda root: export(_of(root), root / "b.zarr")),
    "convert": Victim(_artifact, lambda root: convert(open_artifact(root / "a.zarr"), root / "b.h5")),
}


def campaign(folder: Path, n: int, seed: int, only: Iterable[str] = tuple(VICTIMS)) -> Tally:
    """Kills each victim n times; an assertion says what was lost.

    Args:
        folder: an empty one, to work in.
        n: kills of each.
        seed: of when.
        only: names of `VICTIMS`.
    """
    tally: Tally = Counter()
    dice = random.Random(seed)
    for name in only:
        _kill(folder / name.replace(" ", "-"), name, n, dice, tally)
    return tally


def _kill(folder: Path, name: str, n: int, dice: random.Random, tally: Tally) -> None:
    victim = VICTIMS[name]
    pristine, root = folder / "pristine", folder / "killed"
    pristine.mkdir(parents=True)
    victim.make(pristine)
    shutil.copytree(pristine, root)
    seconds = in_child(lambda say: victim.work(root) and None).seconds
    expected = _made(root)
    for _ in range(n):
        shutil.rmtree(root)
        shutil.copytree(pristine, root)
        ended = kill_at_random(lambda say: victim.work(root) and None, 1.1 * seconds, dice)
        tally[name, "kills" if ended.killed else "ended before the kill"] += 1
        if victim.after is not None:
            if not name.startswith("repair"):
                check_store(_of(root), victim.kept, range(N))
            victim.work(root)
            assert check_store(_of(root), victim.after, range(N)) == sorted(victim.after), name
        else:
            made = _made(root)
            assert not made or made == expected, f"{name} left half of what it makes"
            if name == "repair of contradictions":  # none of them has become a row that is believed
                left = RowStore.open(_of(root).path)
                assert all(left.missing([key(i)]) or left.contradictory([key(i)]).all() for i in range(41, 44))
            victim.work(root)
            assert _made(root) == expected, name
        if name == "repair of contradictions":
            assert verify(_of(root).path) == []
            check_store(_of(root), victim.kept, range(N))
        left = [one.name for one in root.rglob("*.part") if "scratch" not in one.parts]
        assert not left, f"{name} left {left}"
        tally[name, "completed by the next run"] += 1
    shutil.rmtree(folder)


def _made(root: Path) -> dict[str, bytes]:
    """What an export or a conversion has made."""
    return {name: data for path in root.glob("b.*") for name, data in everything(path).items()}
