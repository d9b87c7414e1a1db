"""Commits rows to a row store, each batch durable, beside `np.save` of the same values and one fsync."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
from measure import arguments, embeddings, folder, keys, show, side_by_side

from cache.row_store import RowStore
from cache.rows import RowFormat

options = arguments(__doc__, batch=(int, 256, "rows that an encoder hands over at a time"))
with folder(options) as root:
    values, packed = embeddings(options.rows, options.dim), keys(options.rows)

    def save() -> None:
        """The reference."""
        path = root / "values.npy"
        path.unlink(missing_ok=True)
        np.save(path, values)
        with open(path, "rb") as file:
            os.fsync(file.fileno())

    def fresh(name: str) -> RowStore:
        """An empty store."""
        shutil.rmtree(root / name, ignore_errors=True)
        return RowStore.ensure(root / name, "clips", "0" * 32, RowFormat(options.dim, "float16"))

    def at_once() -> None:
        """All rows in one commit."""
        fresh("once").append(packed, values)

    def in_batches() -> None:
        """As the embedding stages do it."""
        with fresh("batches").writer() as writer:
            for start in range(0, options.rows, options.batch):
                writer.add(packed[start : start + options.batch], values[start : start + options.batch])

    seconds = side_by_side(
        options.repeats,
        **{"np.save + fsync": save, "append, one commit": at_once, "writer, 16,384 rows a commit": in_batches},
    )
    (store,) = Path(root / "batches").glob("*")
    sample = np.random.default_rng(3).choice(options.rows, min(1000, options.rows), replace=False)
    np.testing.assert_array_equal(RowStore.open(store).read(packed[sample]), values[sample])
    show(
        f"Writing {options.rows:,} × {options.dim} float16 durably",
        ["way", "seconds", "speed relative to np.save + fsync"],
        [[name, f"{one:.2f}", f"{seconds['np.save + fsync'] / one:.2f}"] for name, one in seconds.items()],
    )
