"""Steps per second and peak of memory of training AVLnet over our cache, beside the reference's pickle and loader.

    python -m benchmarks.train --reference AVLnet_FOLDER

Each way runs in a process of its own with the same network, batches, loss and optimiser. `net` is the network alone on
one batch that lies in memory: what it takes, no loader can save. Waiting is the share of a step for which the network
stood still because its batch was not there.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.train import material

LEARNING_RATE = 1e-4


def main() -> None:
    """Makes the material, runs every way in a child process, prints a table."""
    options = _options()
    if options.way:
        print(json.dumps(WAYS[options.way](options)))
        return
    ways = ["net", "ours"] + (["reference"] if options.reference else [])
    with tempfile.TemporaryDirectory(prefix="hearonce-train-") as folder:
        subprocess.run([*_again(options), "--way", "material"], cwd=folder, check=True, env=_environment())
        found = {way: _child(options, way, folder) for way in ways}
    size = options.clips * options.frames * 40 * 4 / 2**20
    print(f"{options.clips} clips, {size:.0f} MiB of spectrograms, batch {options.batch}, {options.device}\n")
    print("| way | steps/s | waiting | peak, MiB | peak beyond the network, MiB | loading alone, clips/s |")
    print("|---|---|---|---|---|---|")
    for way, one in found.items():
        beyond = one["peak"] - found["net"]["peak"]
        alone = "" if one["loading"] is None else f"{one['loading']:.0f}"
        print(f"| {way} | {one['steps']:.3f} | {one['waiting']:.1%} | {one['peak']:.0f} | {beyond:.0f} | {alone} |")
    if options.reference:
        ours, other = found["ours"], found["reference"]
        beyond = [one["peak"] - found["net"]["peak"] for one in (ours, other)]
        print(
            f"\nours over the reference's: {ours['steps'] / other['steps']:.2f} x steps/s, "
            f"{ours['loading'] / other['loading']:.2f} x loading, {ours['peak'] / other['peak']:.2f} x peak, "
            f"{beyond[0] / beyond[1]:.2f} x peak beyond the network"
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, help="folder of github.com/roudimit/AVLnet")
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--frames", type=int, default=2000, help="of a mean spectrogram")
    parser.add_argument("--max-frames", type=int, default=5120)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--dim", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--workers", type=int, default=min(8, os.cpu_count() or 1))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32", help="float32, bf16 or fp16; of the reference's network, too")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.reference:
        options.reference = options.reference.resolve()
    return options


def _again(options: argparse.Namespace) -> list[str]:
    given = {"--" + name.replace("_", "-"): value for name, value in vars(options).items() if name != "way" and value}
    return [sys.executable, "-m", "benchmarks.train", *(str(one) for pair in given.items() for one in pair)]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def _child(options: argparse.Namespace, way: str, folder: str) -> dict[str, Any]:
    command = [*_again(options), "--way", way]
    done = subprocess.run(command, cwd=folder, check=True, env=_environment(), stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _material(options: argparse.Namespace) -> dict[str, Any]:
    settings = {"batch_size": options.batch, "dim": options.dim, "precision": options.precision}
    material.write_cache(options.clips, options.frames, options.max_frames, {**settings, "lr": LEARNING_RATE})
    if options.reference:
        material.write_pickle(Path("clips.pkl"), options.clips, options.frames)
    return {}


class _Peak:
    """The largest resident memory of this process and its children together, sampled; libraries included."""

    def __init__(self) -> None:
        self.mib = 0.0
        self._stop = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            self.mib = max(self.mib, sum(_share(pid) for pid in _family(os.getpid())) / 1024)

    def stop(self) -> float:
        self._stop.set()
        return max(self.mib, 0.0) or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _family(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        children = []
    return [pid, *(one for child in children for one in _family(int(child)))]


def _share(pid: int) -> int:
    """KiB of a process, pages that it shares with others counted in part."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def _ours(options: argparse.Namespace) -> dict[str, Any]:
    from stages.train.batches import BatchReader, draws, order
    from stages.train.config import load_training
    from stages.train.features import CachedFeatures

    peak = _Peak()
    config = load_training("bench")
    features = CachedFeatures(config, None)
    stepper, device = _stepper(options, config)
    reader = BatchReader(options.workers, pin=device.type == "cuda")

    def batches() -> Iterable[Any]:
        for epoch in range(1000):
            clips = order(len(features), config.seed, epoch)
            whole = len(clips) // options.batch * options.batch
            parts = [clips[i : i + options.batch] for i in range(0, whole, options.batch)]
            yield from reader.batches(parts, lambda i, e=epoch: features.training_items(i, draws(config.seed, e, i)))

    found = _measured(options, batches, lambda batch: stepper.step([batch]), device)
    return {**found, "peak": peak.stop()}


def _net(options: argparse.Namespace) -> dict[str, Any]:
    import torch

    from stages.train.batches import Batch
    from stages.train.config import load_training

    peak = _Peak()
    stepper, device = _stepper(options, load_training("bench"))
    batch = Batch(
        torch.randn(options.batch, 2 * material.VIDEO_DIM),
        torch.randn(options.batch, options.max_frames, 40),
        torch.full((options.batch,), options.max_frames),
        None,
    )
    found = _measured(options, lambda: (batch for _ in range(10**9)), lambda one: stepper.step([one]), device)
    return {**found, "loading": None, "peak": peak.stop()}


def _stepper(options: argparse.Namespace, config: Any) -> tuple[Any, Any]:
    import torch

    from pipeline.networks.avlnet import AvlNet
    from pipeline.networks.avlnet_shape import Shape
    from stages.train.processes import Processes
    from stages.train.step import Stepper

    together = Processes(0, 1, torch.device(options.device))
    torch.manual_seed(1)
    net = AvlNet(Shape("bi", options.dim)).to(together.device).train()
    return Stepper(net, config, together), together.device


def _reference(options: argparse.Namespace) -> dict[str, Any]:
    sys.path.insert(0, str(options.reference))
    import torch
    from loss import MMS_loss
    from model import Net
    from torch.utils.data import DataLoader
    from youcook_dataloader import Youcook_DataLoader

    from stages.train.step import autocast

    peak = _Peak()
    data = Youcook_DataLoader("clips.pkl", None, num_frames_multiplier=options.max_frames // 1024)
    device = torch.device(options.device)
    torch.manual_seed(1)
    net = Net(embd_dim=options.dim, video_dim=2 * material.VIDEO_DIM).to(device).train()
    optimizer, loss_of = torch.optim.Adam(net.parameters(), LEARNING_RATE), MMS_loss()

    def batches() -> Iterable[Any]:
        loader = DataLoader(data, options.batch, shuffle=True, drop_last=True, num_workers=options.workers)
        for _ in range(1000):
            yield from loader

    def step(batch: Any) -> None:
        optimizer.zero_grad()
        with autocast(device, options.precision):
            audio, video = net(*(batch[name].to(device) for name in ("video", "audio", "nframes")))
        loss = loss_of(audio.float() @ video.float().T)
        loss.backward()
        optimizer.step()
        loss.item()

    found = _measured(options, batches, step, device)
    return {**found, "peak": peak.stop()}


def _measured(
    options: argparse.Namespace, batches: Callable[[], Iterable[Any]], step: Callable[[Any], object], device: Any
) -> dict[str, Any]:
    import torch

    wait = 0.0
    stream = iter(batches())
    step(next(stream))
    _finish(device, torch)
    started = time.perf_counter()
    for _ in range(options.steps):
        asked = time.perf_counter()
        batch = next(stream)
        wait += time.perf_counter() - asked
        step(batch)
    _finish(device, torch)
    taken = time.perf_counter() - started
    n = max(options.steps, min(40, options.clips // options.batch))
    started = time.perf_counter()
    for _ in range(n):
        next(stream)
    alone = n * options.batch / (time.perf_counter() - started)
    return {"steps": options.steps / taken, "waiting": wait / taken, "loading": alone}


def _finish(device: Any, torch: Any) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


WAYS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "material": _material,
    "net": _net,
    "ours": _ours,
    "reference": _reference,
}

if __name__ == "__main__":
    main()
