"""Bits flipped in every kind of file that the cache keeps: found and healed, or touching no row; none is wrong."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from faults.counting import counts
from faults.material import FINGERPRINT, POOLED, RAGGED, batch, check_rows, ensure, everything, fill, key, present

from cache.artifact import open_artifact, write_artifact
from cache.errors import DamageError, UserError
from cache.location import LocalLocation
from cache.row_store import RowStore
from cache.rows import RowFormat, Rows
from cache.upkeep.exchange import export, import_rows
from cache.upkeep.repair import repair, verify
from pipeline.monitor.run_metrics import RUNS_FILE, Run, RunStats, keep, runs

N = 60
DESCRIPTION = {"modality": "captions", "encoder": "small", "fingerprint": FINGERPRINT}
FORMATS: dict[str, RowFormat] = {"pooled": POOLED, "ragged": RAGGED}
OUTCOMES = ("flipped", "found", "healed", "harmless", "wrong")

Tally = Counter[tuple[str, str]]


def flips(path: Path, n: int, dice: random.Random) -> Iterator[bytes]:
    """The bytes of a file with one bit flipped, n times."""
    data = path.read_bytes()
    for _ in range(n):
        flipped = bytearray(data)
        flipped[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        yield bytes(flipped)


def kind_of(file: str) -> str:
    """What a file of a store or artifact is, for the table."""
    if file.endswith("store.json"):
        return "store.json"
    if file == RUNS_FILE:
        return RUNS_FILE
    parts = file.split("/")
    if parts[-1] == "zarr.json":
        grouped = len(parts) == 1 or parts[-2].endswith(".zarr")
        return "zarr.json of a group" if grouped else "zarr.json of an array"
    return "side values" if "side." in file else parts[-2]


def flip_stores(folder: Path, n: int, dice: random.Random, tally: Tally) -> None:
    """Flips bits of every file of row stores, n in each."""
    for name, row_format in FORMATS.items():
        pristine = Path(fill(folder / name, row_format, range(N // 2), range(N // 2, N)).path)
        keep(pristine, Run.of("embed", RunStats(device="cpu"), {"encode": 1.0}, 5, None))
        for path in sorted(one for one in pristine.rglob("*") if one.is_file()):
            file = str(path.relative_to(pristine))
            for data in flips(path, n, dice):
                root = folder / "flipped" / pristine.name
                shutil.copytree(pristine, root)
                (root / file).write_bytes(data)
                _count(tally, f"store: {kind_of(file)}", _store_outcome(root, row_format, file))
                shutil.rmtree(folder / "flipped")


def _store_outcome(root: Path, row_format: RowFormat, file: str) -> list[str]:
    if file == RUNS_FILE:
        assert isinstance(runs(LocalLocation(root)), list)
    right = _rows_are_right(root, row_format)
    found = verify(root)
    if not found:
        return ["harmless" if right is True else "wrong"]
    if right is None:
        return ["found", "wrong"]
    repair(root)
    store = ensure(root.parent, row_format)
    missing = [number for number in range(N) if number not in set(present(store, range(N)))]
    if missing:  # what a run would compute
        store.append_rows(batch(missing, row_format))
    check_rows(store, range(N))
    return ["found", "healed" if verify(root) == [] else "wrong"]


def _rows_are_right(root: Path, row_format: RowFormat) -> bool | None:
    """Whether all rows are as written (True) or some are said to be damaged (False); None if one is wrong."""
    right = True
    try:
        store = RowStore.open(root)
        known = present(store, range(N))
    except DamageError:
        return False
    for start in range(0, len(known), 6):
        numbers = known[start : start + 6]
        try:
            rows = store.read_rows([key(number) for number in numbers])
        except DamageError:
            right = False
            continue
        if not _same(rows, batch(numbers, row_format)):
            return None
    return right and len(known) == N


def flip_artifacts(folder: Path, n: int, dice: random.Random, tally: Tally) -> None:
    """Flips bits of every file of artifacts in both formats: n in each of Zarr, 20 n in HDF5, which is one file."""
    for name, row_format in FORMATS.items():
        store = fill(folder / f"of-{name}", row_format, range(N))
        for suffix in (".zarr", ".h5"):
            pristine, path = folder / f"{name}{suffix}", folder / f"flipped{suffix}"
            write(pristine, store)
            good = everything(pristine)
            for file in sorted(one for one in (pristine, *pristine.rglob("*")) if one.is_file()):
                inner = str(file.relative_to(pristine))
                for data in flips(file, n if pristine.is_dir() else 20 * n, dice):
                    (shutil.copytree if pristine.is_dir() else shutil.copy)(pristine, path)
                    (path / inner if pristine.is_dir() else path).write_bytes(data)
                    kind = f"Zarr artifact: {kind_of(inner)}" if pristine.is_dir() else "HDF5 artifact"
                    outcome = _artifact_outcome(path, row_format)
                    if outcome == ["found"]:
                        _removed(path)
                        write(path, store)  # as the sentence says: delete it and run `dvc repro`
                        outcome.append("healed" if everything(path) == good else "wrong")
                    _count(tally, kind, outcome)
                    _removed(path)


def write(path: Path, store: RowStore) -> None:
    """The artifact of all rows."""
    write_artifact(path, [f"row {i}" for i in range(N)], [key(i) for i in range(N)], store, DESCRIPTION)


def _artifact_outcome(path: Path, row_format: RowFormat) -> list[str]:
    try:
        artifact = open_artifact(path)
        found = artifact.verify()
    except UserError:
        return ["found"]
    for start in range(0, N, 6):
        try:
            rows = artifact.rows(slice(start, start + 6))
        except UserError:
            continue
        if not _same(rows, batch(range(start, start + 6), row_format)):
            return ["wrong"]
    return ["found"] if found else ["wrong"]


def flip_exports(folder: Path, n: int, dice: random.Random, tally: Tally) -> None:
    """Flips bits of exported files, 20 n in each: an import refuses the file, or adds rows that are all right."""
    for name, row_format in FORMATS.items():
        store = fill(folder / f"for-{name}", row_format, range(N))
        for suffix in (".npz", ".safetensors", ".parquet"):
            pristine, path = folder / f"{name}{suffix}", folder / f"flipped{suffix}"
            export(store, pristine)
            for data in flips(pristine, 20 * n, dice):
                path.write_bytes(data)
                root = folder / "into"
                into = ensure(root, row_format)
                try:
                    import_rows(path, into)
                    outcome = ["harmless"]
                except UserError:
                    outcome = ["found", "healed"]  # nothing is computed from a file that is refused
                rows = present(into, range(N))
                right = not rows or _same(into.read_rows([key(i) for i in rows]), batch(rows, row_format))
                if not right or (outcome == ["harmless"] and len(rows) < N) or len(into) != len(rows):
                    outcome = ["wrong"]
                _count(tally, f"export: {suffix[1:]}", outcome)
                shutil.rmtree(root)


def _same(rows: Rows, expected: Rows) -> bool:
    same = rows.values.tobytes() == expected.values.tobytes() and rows.keys.tobytes() == expected.keys.tobytes()
    return same and all(rows.extra[one].tolist() == expected.extra[one].tolist() for one in rows.format.extra)


def _removed(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _count(tally: Tally, kind: str, outcomes: list[str]) -> None:
    for outcome in ("flipped", *outcomes):
        tally[kind, outcome] += 1
        counts[f"bits {outcome}"] += 1


def campaign(folder: Path, n: int, seed: int) -> Tally:
    """Flips bits of everything.

    Args:
        folder: an empty one, to work in.
        n: bits per small file.
        seed: of which bits.
    """
    tally: Tally = Counter()
    dice = random.Random(seed)
    for number, part in enumerate((flip_stores, flip_artifacts, flip_exports)):
        (folder / str(number)).mkdir()
        part(folder / str(number), n, dice, tally)
    return tally
