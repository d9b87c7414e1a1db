"""What our own kernels gain on this CPU: packed layers and the spectrogram's FFT, beside what PyTorch does by itself.

`python -m benchmarks.encoders.kernels [FAMILY ...]` prints CPU milliseconds per item on one thread: `prepare`, the
network with packed and with plain layers, and how far the two rows are apart. Families are modules of `tests/filled`.
The gain depends on the processor: MKL, which multiplies the plain layers, leaves half of an AMD processor unused.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from pipeline.networks import avlnet_spectrogram, packed
from stages.embed.encoder import AudioInput, Encoder, FrameInput

sys.path.append(str(Path(__file__).parents[2] / "tests"))
FAMILIES = ("yamnet_minilm", "efficientnet_minilm", "laion_clap", "wavcaps", "egovlp", "resnet152", "resnext101_3d")
CAPTIONS = ["the sound of water running from a tap"] * 8 + ["a dog barks loudly in the distance now"] * 8
CPU, KEY, REPEATS = torch.device("cpu"), bytes(16), 4


def main(families: Sequence[str]) -> None:
    """Prints a table."""
    torch.set_num_threads(1)
    print("| encoder | items | prepare | packed | plain | network | prepare + network | rows differ by |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for family in families:
            encoder = import_module(f"filled.{family}").encoder(Path(folder))
            for items in encoder.towers:
                print(f"| `{family}` | {items} | {_line(encoder, items)} |", flush=True)
    if not families or set(families) == set(FAMILIES):
        print(_spectrogram())


def _line(encoder: Encoder, items: Any) -> str:
    load = encoder.load_clip_tower if items == "clips" else encoder.load_caption_tower
    fast = load(CPU)
    with patch.object(packed, "can_pack", lambda *_: False):
        plain = load(CPU)
    given = _clips(encoder.clip_input) if items == "clips" else CAPTIONS
    prepared = [fast.prepare(item, KEY) for item in given]
    with torch.inference_mode():
        rows = zip(fast.encode(prepared), plain.encode(prepared), strict=True)
        apart = max(float(np.abs(one - other).max()) for one, other in rows)
        steps = [
            lambda: [fast.prepare(item, KEY) for item in given],
            lambda: fast.encode(prepared),
            lambda: plain.encode(prepared),
        ]
        prepare, with_packed, without = (_milliseconds(step) / len(given) for step in steps)
    whole = (prepare + without) / (prepare + with_packed)
    times = f"{prepare:.2f} | {with_packed:.2f} | {without:.2f}"
    return f"{times} | {without / with_packed:.2f} x | {whole:.2f} x | {apart:.0e}"


def _clips(given: Any) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    if isinstance(given, AudioInput):
        noise = generator.standard_normal((4, 10 * (given.sample_rate or 48_000)))
        return list((0.1 * noise).astype(np.float32))
    if isinstance(given, FrameInput):
        return list(generator.integers(0, 255, (2, given.count, 256, 456, 3), np.uint8))
    width = given.short_side if given.crop else given.short_side * 16 // 9
    return list(generator.integers(0, 255, (2, 16 if given.crop else 3, given.short_side, width, 3), np.uint8))


def _spectrogram() -> str:
    window, weights = np.hamming(avlnet_spectrogram.SIZE), avlnet_spectrogram.slaney_bands()
    power = avlnet_spectrogram.BandPower(window, weights)
    tensors = [torch.from_numpy(array) for array in (window, weights)]
    samples = avlnet_spectrogram.emphasised(_clips(AudioInput(avlnet_spectrogram.SAMPLE_RATE))[0])
    ours = _milliseconds(lambda: power(samples))
    torchs = _milliseconds(lambda: avlnet_spectrogram.torch_power(torch.from_numpy(samples), *tensors))
    gain = f"{ours:.2f} ms, by torch {torchs:.2f} ms ({torchs / ours:.1f} x)"
    return f"\nBand power of 10 s for `avlnet-spectrogram`: {gain}."


def _milliseconds(step: Callable[[], Any]) -> float:
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        step()
        times.append(time.process_time() - start)
    return 1000 * min(times)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("families", nargs="*", default=list(FAMILIES), help=", ".join(FAMILIES))
    main(parser.parse_args().families)
