"""Why chunks of 32 KiB, shards of 32 MiB, CRC-32C and no compression: size and speed of each choice."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import zarr
from measure import arguments, embeddings, folder, show, side_by_side
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ZstdCodec

from cache.formats.zarr_array import ArraySpec, ArrayWriter
from cache.formats.zarr_reader import ShardedArray
from cache.location import LocalLocation

options = arguments(__doc__, picks=(int, 10_000, "rows to gather"))
KIB, MIB = 1 << 10, 1 << 20


def write(path: Path, spec: ArraySpec, values: np.ndarray) -> None:
    """Writes the values as we do."""
    shutil.rmtree(path, ignore_errors=True)
    writer = ArrayWriter(path, spec)
    for start in range(0, len(values), 1 << 15):
        writer.append(values[start : start + (1 << 15)])
    writer.close()


def write_plain(path: Path, spec: ArraySpec, values: np.ndarray, codecs: list) -> None:
    """Writes them through zarr-python with other codecs."""
    codecs = [one for one in codecs if not isinstance(one, BytesCodec)]
    zarr.create_array(
        path,
        shape=values.shape,
        dtype=values.dtype,
        chunks=(spec.chunk_rows, values.shape[1]),
        shards=(spec.shard_rows, values.shape[1]),
        compressors=codecs or None,
        overwrite=True,
    )[...] = values


def nbytes(path: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(one.stat().st_size for one in path.rglob("*") if one.is_file())


with folder(options) as root:
    values = embeddings(options.rows, options.dim)
    picks = np.random.default_rng(7).choice(options.rows, min(options.picks, options.rows), replace=False)
    row_bytes = options.dim * 2
    path = root / "values"

    lines = []
    for chunk in (4 * KIB, 16 * KIB, 32 * KIB, 128 * KIB, 512 * KIB):
        rows = max(1, chunk // row_bytes)
        spec = ArraySpec(values.shape, values.dtype, rows, 32 * MIB // (rows * row_bytes) * rows)
        written = side_by_side(1, write=lambda spec=spec: write(path, spec, values))["write"]
        np.testing.assert_array_equal(zarr.open_array(path, mode="r")[:1000], values[:1000])
        seconds = side_by_side(
            options.repeats,
            full=lambda spec=spec: ShardedArray(LocalLocation(path), spec, "values").read(),
            gather=lambda spec=spec: ShardedArray(LocalLocation(path), spec, "values").take(picks),
        )
        plain = side_by_side(1, full=lambda: zarr.open_array(path, mode="r")[...])["full"]
        files = sum(1 for one in path.iterdir()) - 1
        gathered = f"{seconds['gather'] * 1000:.0f}"
        lines.append(
            [f"{chunk // KIB} KiB", files, f"{written:.2f}", f"{seconds['full']:.2f}", gathered, f"{plain:.2f}"]
        )
    head = [
        "chunk",
        "shards",
        "write, s",
        "full read, s",
        f"{len(picks):,} random rows, ms",
        "full read by zarr-python, s",
    ]
    show(f"Chunk size in shards of 32 MiB, {options.rows:,} × {options.dim} float16", head, lines)

    lines = []
    for shard in (8 * MIB, 32 * MIB, 128 * MIB, 512 * MIB):
        rows = max(1, 32 * KIB // row_bytes)
        spec = ArraySpec(values.shape, values.dtype, rows, shard // (rows * row_bytes) * rows)
        written = side_by_side(1, write=lambda spec=spec: write(path, spec, values))["write"]
        seconds = side_by_side(
            options.repeats, full=lambda spec=spec: ShardedArray(LocalLocation(path), spec, "v").read()
        )
        changed = -(-options.rows // spec.shard_rows) - (options.rows * 99 // 100) // spec.shard_rows
        line = [f"{shard // MIB} MiB", spec.n_shards, f"{written:.2f}", f"{seconds['full']:.2f}"]
        lines.append([*line, f"{changed * shard // MIB} MiB"])
    head = ["shard", "files", "write, s", "full read, s", "shards that the last 1 % of rows touches, at most"]
    show(f"Shard size with chunks of 32 KiB, {options.rows:,} × {options.dim} float16", head, lines)

    spec = ArraySpec.of_values(len(values), options.dim, values.dtype, 32 * MIB)
    choices = {
        "none": [],
        "CRC-32C (ours)": [Crc32cCodec()],
        "zstd 1 + CRC-32C": [ZstdCodec(level=1), Crc32cCodec()],
        "zstd 3 + CRC-32C": [ZstdCodec(level=3), Crc32cCodec()],
        "zstd 9 + CRC-32C": [ZstdCodec(level=9), Crc32cCodec()],
        "blosc lz4 5, byte shuffle + CRC-32C": [BloscCodec(cname="lz4", clevel=5, typesize=2), Crc32cCodec()],
        "blosc zstd 5, byte shuffle + CRC-32C": [
            BloscCodec(cname="zstd", clevel=5, shuffle="shuffle", typesize=2),
            Crc32cCodec(),
        ],
    }
    part = values[: max(1, options.rows // 10)]
    lines = []
    for name, codecs in choices.items():
        seconds = side_by_side(
            1,
            write=lambda codecs=codecs: write_plain(path, spec, part, codecs),
            read=lambda: zarr.open_array(path, mode="r")[...],
        )
        rate = part.nbytes / 1e6
        size = nbytes(path) / part.nbytes
        lines.append([name, f"{size:.3f}", f"{rate / seconds['write']:.0f}", f"{rate / seconds['read']:.0f}"])
    head = ["codec", "size relative to the values", "write, MB/s", "read, MB/s"]
    show(f"Codec, all through zarr-python, {len(part):,} × {options.dim} float16", head, lines)
