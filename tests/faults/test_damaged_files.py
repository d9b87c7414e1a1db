"""Every file of a small store and of artifacts in both formats flipped, cut short or deleted at random places."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from faults.counting import ROUNDS, counts
from faults.material import FINGERPRINT, POOLED, RAGGED, batch, check_rows, ensure, fill, key, present

from cache.artifact import open_artifact, write_artifact
from cache.errors import Damage, DamageError
from cache.row_store import RowStore
from cache.upkeep.repair import repair, verify

FIRST, SECOND = range(0, 60), range(60, 100)
FORMATS = pytest.mark.parametrize("row_format", [POOLED, RAGGED], ids=["pooled", "ragged"])


def faults(pristine: Path, dice: random.Random) -> Iterator[tuple[str, str, bytes | None]]:
    """(file, what is done to it, its bytes then) for every file at or below a path: flips, cuts, and its loss."""
    for path in sorted(one for one in (pristine, *pristine.rglob("*")) if one.is_file()):
        data, name = path.read_bytes(), str(path.relative_to(pristine))
        for _ in range(4 * ROUNDS):
            flipped, at = bytearray(data), dice.randrange(len(data))
            flipped[at] ^= 1 << dice.randrange(8)
            yield name, f"flip in byte {at}", bytes(flipped)
        for _ in range(2 * ROUNDS):
            length = dice.randrange(len(data))
            yield name, f"cut to {length} bytes", data[:length]
        yield name, "lost", None


def plant(root: Path, name: str, data: bytes | None) -> None:
    path = root if name == "." else root / name
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    counts["corruptions planted"] += 1


def untouched(damages: list[Damage], segments: list[str]) -> set[int]:
    """Numbers of the rows that no damage names, in a store of two segments."""
    left = {segments[0]: set(FIRST), segments[1]: set(SECOND)}
    numbers = {segments[0]: list(FIRST), segments[1]: list(SECOND)}
    for one in damages:
        if one.file.startswith("segments/") and one.rows is not None:
            segment = one.file.split("/")[1]
            left[segment] -= set(numbers[segment][slice(*one.rows)])
    return left[segments[0]] | left[segments[1]]


@FORMATS
def test_a_store_names_the_damage_and_repair_drops_exactly_those_rows(tmp_path, row_format):
    dice = random.Random(11)
    store = fill(tmp_path / "pristine", row_format, FIRST, SECOND)
    segments = store.segments.names()
    pristine = Path(store.path)
    root = tmp_path / "damaged" / pristine.name
    for name, what, data in faults(pristine, dice):
        shutil.copytree(pristine, root)
        plant(root, name, data)
        if name == "store.json" and data is None:  # a folder without it is no store; made again, it finds its rows
            counts["corruptions found"] += 1
            check_rows(ensure(root.parent, row_format), [*FIRST, *SECOND])
            shutil.rmtree(root)
            continue
        found = verify(root)
        assert any(one.file == name for one in found), f"{name}, {what}: {found}"
        counts["corruptions found"] += 1
        check_never_wrong(root, [*FIRST, *SECOND])

        assert repair(root) == found
        assert verify(root) == []
        there = set(present(RowStore.open(root), [*FIRST, *SECOND]))
        whole_segment_lost = any("cannot be reconstructed" in one.reason for one in found)
        if not whole_segment_lost:
            assert there == untouched(found, segments), f"{name}, {what}"
        check_rows(RowStore.open(root), sorted(there))
        counts["rows dropped by repair"] += 100 - len(there)
        shutil.rmtree(root)


def check_never_wrong(root: Path, numbers: list[int]) -> None:
    """Each row reads as it was written, or reading it says that it is damaged."""
    try:
        store = RowStore.open(root)
        known = present(store, numbers)
    except DamageError as error:
        assert "hearonce cache repair" in str(error)
        return
    for number in known:
        try:
            found = store.read_rows([key(number)])
        except DamageError as error:
            assert "hearonce cache repair" in str(error)
            continue
        assert found.values.tobytes() == batch([number], store.format).values.tobytes()


@FORMATS
@pytest.mark.parametrize("suffix", [".zarr", ".h5"])
def test_an_artifact_names_the_damage_and_never_gives_wrong_values(tmp_path, suffix, row_format):
    dice = random.Random(12)
    store = fill(tmp_path / "rows", row_format, FIRST)
    ids, keys = [f"row {i}" for i in FIRST], [key(i) for i in FIRST]
    pristine, path = tmp_path / f"pristine{suffix}", tmp_path / f"damaged{suffix}"
    write_artifact(pristine, ids, keys, store, {"modality": "captions", "fingerprint": FINGERPRINT})
    expected = [open_artifact(pristine).rows([i]) for i in FIRST]
    rounds = range(1 if suffix == ".zarr" else 15)  # HDF5 is one file
    for name, what, data in (fault for _ in rounds for fault in faults(pristine, dice)):
        if name in (".", "zarr.json") and data is None:
            continue  # then it is missing or something else, which is an error of its own
        (shutil.copytree if pristine.is_dir() else shutil.copy)(pristine, path)
        plant(path, name, data)
        try:
            artifact = open_artifact(path)
            found = artifact.verify()
        except DamageError as error:
            assert "dvc repro" in str(error)
            found = list(error.damages)
            artifact = None
        assert found, f"{name}, {what}"
        assert any(one.file == (path.name if name == "." else name) for one in found), f"{name}, {what}: {found}"
        counts["corruptions found"] += 1
        for i in FIRST if artifact is not None else ():
            try:
                row = artifact.rows([i])
            except DamageError:
                continue
            except Exception as error:
                assert "lacks" in str(error), f"{name}, {what}"
                continue
            assert row.values.tobytes() == expected[i].values.tobytes(), f"{name}, {what}: row {i} is wrong"
            np.testing.assert_array_equal(row.keys, expected[i].keys)
        del artifact
        shutil.rmtree(path) if path.is_dir() else path.unlink()
