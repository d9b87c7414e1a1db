"""Reads a whole embedding cache, every chunk checked, beside `np.load` of the same values."""

from __future__ import annotations

import numpy as np
from measure import arguments, artifact, embeddings, folder, forget, show, side_by_side

from cache.artifact import open_artifact

options = arguments(__doc__)
with folder(options) as root:
    values = embeddings(options.rows, options.dim)
    np.save(root / "values.npy", values)
    artifact(root / "values.zarr", values)
    artifact(root / "values.h5", values)
    np.testing.assert_array_equal(open_artifact(root / "values.zarr").numpy(), values)
    np.testing.assert_array_equal(open_artifact(root / "values.h5").numpy(), values)
    del values
    ways = {
        "np.load": lambda: np.load(root / "values.npy"),
        "Zarr artifact": lambda: open_artifact(root / "values.zarr").numpy(),
        "HDF5 artifact": lambda: open_artifact(root / "values.h5").numpy(),
    }
    lines = []
    for state in ("in memory", "on disk"):
        before = None if state == "in memory" else lambda: forget(root)
        seconds = side_by_side(options.repeats, before, **ways)
        lines += [[name, state, f"{one:.2f}", f"{seconds['np.load'] / one:.2f}"] for name, one in seconds.items()]
    show(
        f"Full read of {options.rows:,} × {options.dim} float16",
        ["way", "files are", "seconds", "speed relative to np.load"],
        lines,
    )
