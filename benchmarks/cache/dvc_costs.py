"""What DVC does with embedding caches: no-op `dvc repro` by size, and bytes pushed after rows were added at the end.

The no-op is measured in a project of one stage with the inputs and outputs of embed (clips table, Zarr artifact);
its command only puts the artifact in place, which a no-op does not run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import polars as pl
from measure import arguments, artifact, embeddings, folder, show, side_by_side

DVC_YAML = """
stages:
  embed:
    cmd: cp -r made.zarr clips.zarr
    deps: [clips.parquet]
    outs: [clips.zarr]
"""


def run(root: Path, *command: str) -> str:
    """Runs a program of this environment in a folder."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def project(root: Path) -> Path:
    """An empty DVC project."""
    root.mkdir()
    run(root, "git", "init", "-q")
    run(root, "dvc", "init", "-q")
    return root


def nbytes(path: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(one.stat().st_size for one in path.rglob("*") if one.is_file())


options = arguments(__doc__)
with folder(options) as base:
    lines = []
    size = 10_000
    while size <= options.rows:
        root = project(base / f"noop-{size}")
        artifact(root / "made.zarr", embeddings(size, options.dim))
        ids = [f"clip-{i:07d}" for i in range(size)]
        pl.DataFrame({"clip_id": ids, "start_s": range(size)}).write_parquet(root / "clips.parquet")
        (root / "dvc.yaml").write_text(DVC_YAML)
        run(root, "dvc", "repro")
        assert "up to date" in run(root, "dvc", "repro")
        seconds = side_by_side(options.repeats, noop=lambda root=root: run(root, "dvc", "repro"))["noop"]
        nothing = side_by_side(options.repeats, start=lambda root=root: run(root, "dvc", "root"))["start"]
        files = sum(1 for one in (root / "clips.zarr").rglob("*") if one.is_file())
        lines.append([f"{size:,}", files, f"{seconds:.2f}", f"{nothing:.2f}"])
        size *= 10
    show(
        f"`dvc repro` with nothing to do, rows of {options.dim} float16",
        ["rows", "files of the artifact", "seconds", "of which DVC needs to start (`dvc root`)"],
        lines,
    )

    lines = []
    for name in ("clips.zarr", "clips.h5"):
        root = project(base / f"push-{name}")
        remote = base / f"remote-{name}"
        run(root, "dvc", "remote", "add", "-d", "local", str(remote))
        values = embeddings(options.rows + options.rows // 100, options.dim)
        artifact(root / name, values[: options.rows])
        run(root, "dvc", "add", name)
        run(root, "dvc", "push")
        first = nbytes(remote)
        artifact(root / name, values)
        run(root, "dvc", "add", name)
        run(root, "dvc", "push")
        second = nbytes(remote) - first
        added = (len(values) - options.rows) * options.dim * 2
        lines.append([name, f"{first / 1e6:.1f}", f"{added / 1e6:.1f}", f"{second / 1e6:.1f}"])
    show(
        f"`dvc push` to a local remote, {options.rows:,} × {options.dim} float16, then 1 % more rows",
        ["artifact", "first push, MB", "values added, MB", "second push, MB"],
        lines,
    )
