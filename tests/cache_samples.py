"""Rows of every format to test the cache with."""

import hashlib
from functools import cache
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from cache.keys import caption_key
from cache.row_store import RowStore
from cache.rows import DTYPES, RowFormat

FINGERPRINT = "ab" * 16
FORMATS = [
    RowFormat(dim, dtype, ragged, extra)
    for dim, dtype, ragged, extra in (
        (8, "float32", False, {}),
        (5, "float16", False, {"valid_frames": "int32"}),
        (3, "bfloat16", False, {}),
        (4, "float32", True, {"valid_frames": "int64", "gain": "float64"}),
        (7, "float16", True, {}),
        (2, "bfloat16", True, {"level": "float32", "flag": "uint8"}),
    )
]
any_format = st.builds(
    RowFormat,
    st.integers(1, 9),
    st.sampled_from(DTYPES),
    st.booleans(),
    st.dictionaries(
        st.sampled_from(["valid_frames", "gain", "level"]),
        st.sampled_from(["uint8", "int32", "int64", "float32", "float64"]),
    ),
)


def keys(*numbers: int) -> list[bytes]:
    return [caption_key(str(number)) for number in numbers]


def values(row_format: RowFormat, *numbers: int) -> list[np.ndarray]:
    """What the rows of these numbers hold: (dim,) or (frames, dim), exactly representable in the format."""
    return [_value(row_format, number) for number in numbers]


@cache
def _value(row_format: RowFormat, number: int) -> np.ndarray:
    draw = np.random.default_rng(number)
    shape = (draw.integers(0, 6), row_format.dim) if row_format.ragged else (row_format.dim,)
    return row_format.decode(row_format.encode(draw.standard_normal(shape).astype(np.float32)))


def extra_values(row_format: RowFormat, *numbers: int) -> dict[str, np.ndarray]:
    return {name: np.array([n % 200 for n in numbers], kind) for name, kind in row_format.extra.items()}


def batch(row_format: RowFormat, *numbers: int) -> tuple:
    """Arguments of `RowStore.append`."""
    rows = values(row_format, *numbers)
    if not row_format.ragged:
        rows = np.array(rows, np.float32).reshape(-1, row_format.dim)
    return keys(*numbers), rows, extra_values(row_format, *numbers)


def open_store(root: Path | str, row_format: RowFormat = FORMATS[0]) -> RowStore:
    return RowStore.ensure(root, "clips", FINGERPRINT, row_format, {"version": 1})


def assert_rows(store: RowStore, *numbers: int) -> None:
    """The store holds exactly what the rows of these numbers are."""
    rows = store.read_rows(keys(*numbers))
    assert [key.tobytes() for key in rows.keys] == keys(*numbers)
    for i, expected in enumerate(values(store.format, *numbers)):
        np.testing.assert_array_equal(rows.row(i), expected)
    for name, column in extra_values(store.format, *numbers).items():
        np.testing.assert_array_equal(rows.extra[name], column)


def files(root: Path) -> list[Path]:
    return [root] if root.is_file() else sorted(one for one in root.rglob("*") if one.is_file())


def digests(root: Path) -> dict[str, str]:
    return {str(one.relative_to(root)): hashlib.sha256(one.read_bytes()).hexdigest() for one in files(root)}
