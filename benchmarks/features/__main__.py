"""Features per second: spectrograms beside the reference's function, and the two networks of pictures.

Spectrograms begin with wav files in both ways, so that reading counts. The reference's function takes one file at a
time; ours reads and, on a CPU, computes in threads as a run of the stage does, once in one and once in one per core.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import wave
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.features import reference
from pipeline.monitor.device import describe, pick_device
from pipeline.networks.resnet import LENGTH, SIDE, Features2d, ResNeXt3D
from stages.embed.encoder import Tower
from stages.embed.encoders.avlnet_spectrogram import SpectrogramTower
from stages.embed.tower_parts import FrameFeatureTower

BATCH = 16


def main() -> None:
    """Prints a table."""
    options = _options()
    device = pick_device(options.device)
    torch.set_num_threads(1)  # of each thread that reads; networks get all below
    print(f"{describe(device)['device']}, {os.cpu_count()} cores; medians of {options.repeats} runs\n")
    print("| what | per second | beside the reference |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        files = [_wav(Path(folder) / f"{i}.wav", options.seconds, i) for i in range(options.clips)]
        _spectrograms(files, options, device)
    torch.set_num_threads(os.cpu_count() or 1)
    if not options.no_networks:
        _networks(options, device)


def _spectrograms(files: Sequence[Path], options: argparse.Namespace, device: torch.device) -> None:
    """All take turns, so that whatever else the machine does slows them alike."""
    tower = SpectrogramTower(device)
    runs: dict[str, Callable[[], object]] = {}
    if options.reference:
        theirs = reference.load(options.reference)
        runs["reference"] = lambda: [theirs(path) for path in files]
        difference = np.abs(theirs(files[0]).T - _ours(tower, files[:1])[0]).max()
    with ExitStack() as pools:
        for workers in sorted({1, os.cpu_count() or 1}):
            pool = pools.enter_context(ThreadPoolExecutor(workers))
            runs[f"ours, {workers} threads"] = lambda pool=pool: _ours(tower, files, pool.map)  # type: ignore[misc]
        rates = [len(files) / seconds for seconds in _seconds(list(runs.values()), options.repeats)]
    for name, rate in zip(runs, rates, strict=True):
        beside = f"{rate / rates[0]:.1f}" if options.reference else ""
        print(f"| spectrograms of {options.seconds} s, {name} | {rate:,.0f} | {beside} |")
    if options.reference:
        print(f"| largest difference, dB | {difference:.1g} | |")


def _networks(options: argparse.Namespace, device: torch.device) -> None:
    """Networks with weights at random: how fast they are does not depend on the weights."""
    from torchvision.models import resnet152

    flat = Features2d(resnet152()).eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    moving = ResNeXt3D().eval().to(device)
    pictures = np.random.default_rng(0).integers(0, 256, (options.pictures, 224, 298, 3)).astype(np.uint8)
    squares = np.random.default_rng(0).integers(0, 256, (options.pictures, SIDE, SIDE, 3)).astype(np.uint8)
    towers: list[tuple[str, Tower, np.ndarray, int]] = [
        ("ResNet-152, seconds of video", FrameFeatureTower(flat, device, 1), pictures, options.pictures),
        ("ResNeXt-101, seconds of video", FrameFeatureTower(moving, device, LENGTH), squares, options.pictures / 24),
    ]
    for name, tower, item, seconds in towers:
        (duration,) = _seconds([lambda tower=tower, item=item: tower.encode([item])], options.repeats)  # type: ignore[misc]
        print(f"| {name} | {seconds / duration:,.1f} | |")


def _ours(tower: SpectrogramTower, files: Sequence[Path], each: Any = map) -> list[np.ndarray]:
    prepared = list(each(lambda path: tower.prepare(_samples(path), b""), files))
    return [row for first in range(0, len(files), BATCH) for row in tower.encode(prepared[first : first + BATCH])]


def _samples(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        levels = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return levels.astype(np.float32) / 32_768


def _wav(path: Path, seconds: float, seed: int) -> Path:
    levels = np.random.default_rng(seed).standard_normal(round(16_000 * seconds)) * 3_000
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(levels.clip(-32_768, 32_767).astype("<i2").tobytes())
    return path


def _seconds(runs: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """Median duration of each, one after the other in every round."""
    times = []
    for _ in range(repeats + 1):
        starts = [time.perf_counter()]
        for run in runs:
            run()
            starts.append(time.perf_counter())
        times.append(np.diff(starts))
    return np.median(times[1:], axis=0).tolist()  # the first round warms up


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.features", description=__doc__)
    parser.add_argument("--reference", type=Path, help="a checkout of AVLnet")
    parser.add_argument("--clips", type=int, default=512, help="the first hundred may all be read on one core")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--pictures", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", help="cpu, cuda, ...; a GPU if any")
    parser.add_argument("--no-networks", action="store_true", help="spectrograms alone")
    return parser.parse_args()


if __name__ == "__main__":
    main()
