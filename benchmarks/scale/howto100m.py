"""What the measurements come to at the size of HowTo100M, under stated assumptions (benchmarks/README.md)."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan

from benchmarks.cache.measure import show
from benchmarks.scale.growth import Growth
from cache.formats.zarr_array import ARTIFACT_SHARD_BYTES
from cache.keys import KEY_BYTES
from cache.upkeep.compaction import COMPACT_BYTES
from stages.embed.registry import load_encoder

CLIPS, VIDEOS, HOURS, CLIP_S = 136e6, 1.22e6, 134_472, 4.0  # https://arxiv.org/abs/1906.03327
PARTS = 64
ID_BYTES = 42  # as `videos/AbCdEfGhIjK.mp4@325-329.25` and its length
FLAC_BYTES_PER_S = {"keep": 47_685, "mono": 39_453}  # of the demo's media
UPLOAD_BYTES_PER_S = 1e9 / 8
GPU_OPERATIONS_PER_S, UTILISATION = 312e12, 0.3  # bfloat16 of an A100 by its data sheet; a guess
FRAMES = {"avlnet-spectrogram": 401, "resnet152": 4, "resnext101-3d": 6}  # of a clip of 4 s
OPERATIONS = {
    "laion-clap": 11.9e9,
    "wavcaps": 11.9e9,
    "yamnet-minilm": 1.1e9,
    "egovlp": 175.8e9,
    "clip-vit-b32": 70.5e9,
    "siglip-base": 283.3e9,
    "resnet152": 164.8e9,
    "resnext101-3d": 114.8e9,
}
"""Of a clip of 4 s, as `python -m benchmarks.scale.operations` counts them."""

CPU_CLIPS_PER_S = {
    "laion-clap": 13.9,
    "wavcaps": 16.9,
    "yamnet-minilm": 22.1 * 10 / CLIP_S,
}  # 2 cores: benchmarks/README.md


def show_howto100m(growth: Mapping[str, tuple[str, Growth, Growth]]) -> None:
    """Prints the tables.

    Args:
        growth: what each part of the benchmark is called, and how its seconds and bytes grow.
    """
    lines = []
    for part, (name, seconds, memory) in growth.items():
        whole = 10 * VIDEOS if part == "extract-audio" else CLIPS
        cells = [(_duration(seconds.at(rows)), _bytes(memory.at(rows))) for rows in (whole, whole / PARTS)]
        lines.append([name.replace("a medium per ten rows", "1.22 M media"), *cells[0], *cells[1]])
    head = ["what", "all 136 M clips", "memory", f"a {PARTS}th of them", "memory"]
    show("HowTo100M by these exponents, on this machine", head, lines)

    lines = [
        [f"FLAC, channels: {channels}", f"{rate / 1e3:.0f} kB/s", *_stored(rate * HOURS * 3600, files=2 * VIDEOS)]
        for channels, rate in FLAC_BYTES_PER_S.items()
    ]
    for name in ("laion-clap", "wavcaps", "egovlp", "clip-vit-b32", "siglip-base", "yamnet-minilm", *FRAMES):
        row = load_encoder(name).row_format("clips")
        values = row.row_bytes * FRAMES.get(name, 1)
        total = (values + KEY_BYTES + ID_BYTES) * CLIPS
        text = f"{FRAMES[name]} × {row.dim} {row.dtype}" if row.ragged else str(row)
        segments, shards = -(-values * CLIPS // COMPACT_BYTES), -(-values * CLIPS // ARTIFACT_SHARD_BYTES)
        lines.append([f"`{name}`", text, *_stored(total, segments=segments, files=shards)])
    head = ["what", "of a clip or second", "bytes, one copy", "upload", "segments", "files or shards"]
    show("HowTo100M: what is stored of 136 M clips, 134,472 hours", head, lines)

    lines = []
    for name, counted in OPERATIONS.items():
        hours = counted * CLIPS / GPU_OPERATIONS_PER_S / UTILISATION / 3600
        cores = f"{2 * CLIPS / CPU_CLIPS_PER_S[name] / 3600:,.0f}" if name in CPU_CLIPS_PER_S else ""
        lines.append([f"`{name}`", f"{counted / 1e9:.1f}", f"{hours:,.0f}", cores])
    head = ["encoder", "10^9 operations a clip", "GPU-hours (assumed)", "core-hours (from measured clips/s)"]
    show("HowTo100M: computing 136 M clips of 4 s", head, lines)


def _stored(total: float, segments: float | None = None, files: float = 0) -> list[str]:
    count = "" if segments is None else f"{segments:,.0f}"
    return [_bytes(total), _duration(total / UPLOAD_BYTES_PER_S), count, f"{files:,.0f}"]


def _duration(seconds: float) -> str:
    if isnan(seconds):
        return "–"
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def _bytes(count: float) -> str:
    if isnan(count):
        return "–"
    for unit, size in (("TB", 1e12), ("GB", 1e9)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 1e6:,.0f} MB"
