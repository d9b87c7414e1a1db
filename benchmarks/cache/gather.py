"""Reads random rows in order, from an embedding cache and from one .npy file per row."""

from __future__ import annotations

import numpy as np
from measure import arguments, artifact, embeddings, folder, show, side_by_side

from cache.artifact import open_artifact

options = arguments(__doc__, picks=(int, 10_000, "rows to gather"))
with folder(options) as root:
    values = embeddings(options.rows, options.dim)
    files = root / "files"
    files.mkdir()
    for i, row in enumerate(values):
        np.save(files / f"clip-{i:07d}.npy", row)
    artifact(root / "values.zarr", values)
    artifact(root / "values.h5", values)
    picks = np.random.default_rng(7).choice(options.rows, min(options.picks, options.rows), replace=False)

    def from_files() -> np.ndarray:
        """The reference."""
        return np.stack([np.load(files / f"clip-{i:07d}.npy") for i in picks.tolist()])

    ways = {
        "one .npy per row": from_files,
        "Zarr artifact": lambda: open_artifact(root / "values.zarr")[picks],
        "HDF5 artifact": lambda: open_artifact(root / "values.h5")[picks],
    }
    for way in ways.values():
        np.testing.assert_array_equal(way(), values[picks])
    seconds = side_by_side(options.repeats, **ways)
    show(
        f"{len(picks):,} random rows of {options.rows:,} × {options.dim} float16 (files in memory)",
        ["way", "seconds", "times faster than one .npy per row"],
        [[name, f"{one:.3f}", f"{seconds['one .npy per row'] / one:.1f}"] for name, one in seconds.items()],
    )
