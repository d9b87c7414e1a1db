"""Small stores of known rows, and checks that nothing of them was lost, doubled or changed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from faults.counting import counts

from cache.keys import caption_key, unpack_keys
from cache.row_store import RowStore
from cache.rows import RowFormat, Rows
from cache.upkeep.repair import verify

FINGERPRINT = "ab" * 16
POOLED = RowFormat(512, "float32")
RAGGED = RowFormat(24, "float16", ragged=True, extra={"valid_frames": "int32"})


def key(number: int) -> bytes:
    return caption_key(str(number))


def value(number: int, row_format: RowFormat) -> np.ndarray:
    """The row of a number; of no frames at all for some when ragged."""
    dice = np.random.default_rng(number)
    shape = (number * 7 % 40, row_format.dim) if row_format.ragged else (row_format.dim,)
    return dice.standard_normal(shape, np.float32).astype(row_format.storage)


def batch(numbers: Iterable[int], row_format: RowFormat) -> Rows:
    numbers = list(numbers)
    values: list[np.ndarray] | np.ndarray = [value(number, row_format) for number in numbers]
    extra = {name: numbers for name in row_format.extra}
    return Rows.of(row_format, [key(n) for n in numbers], values if row_format.ragged else np.array(values), extra)


def ensure(root: Path, row_format: RowFormat = POOLED) -> RowStore:
    return RowStore.ensure(root, "captions", FINGERPRINT, row_format, {"version": 1})


def fill(root: Path, row_format: RowFormat, *batches: Iterable[int]) -> RowStore:
    store = ensure(root, row_format)
    for numbers in batches:
        store.append_rows(batch(numbers, row_format), {"device": "cpu"})
    return store


def present(store: RowStore, numbers: Iterable[int]) -> list[int]:
    numbers = list(numbers)
    absent = set(store.missing([key(number) for number in numbers]))
    return [number for number in numbers if key(number) not in absent]


def check_rows(store: RowStore, numbers: Iterable[int]) -> None:
    """Each of these rows reads back bit by bit as it was written."""
    numbers = list(numbers)
    if not numbers:
        return
    found, expected = store.read_rows([key(number) for number in numbers]), batch(numbers, store.format)
    assert found.values.tobytes() == expected.values.tobytes()
    for name in store.format.extra:
        np.testing.assert_array_equal(found.extra[name], expected.extra[name])
    if store.format.ragged:
        np.testing.assert_array_equal(found.offsets, expected.offsets)
    counts["rows read back and compared"] += len(numbers)


def check_store(store: RowStore, committed: Iterable[int], possible: Iterable[int]) -> list[int]:
    """Nothing of what was committed is lost, doubled, half there or damaged; returns what is there."""
    committed = sorted(set(committed))
    there = present(store, sorted(set(possible)))
    lost = set(committed) - set(there)
    counts["committed rows lost"] += len(lost)
    assert not lost
    check_rows(store, there)
    listed = unpack_keys(store.keys())
    counts["rows doubled"] += len(listed) - len(set(listed))
    assert len(listed) == len(set(listed)) == len(store) == len(there)
    assert verify(store.path) == []
    return there


def everything(path: Path) -> dict[str, bytes]:
    """All files at or below a path, with their bytes."""
    return {str(one.relative_to(path)): one.read_bytes() for one in (path, *path.rglob("*")) if one.is_file()}
