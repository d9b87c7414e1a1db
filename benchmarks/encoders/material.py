"""Clips to embed: compressed files made on the spot, and an encoder with a filled checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any

import av
import numpy as np

from stages.embed.clips import Clip, Span
from stages.embed.encoder import AudioInput, Encoder

TESTS = Path(__file__).parents[2] / "tests"
CLIP_S = 10.0
SOUND_RATE, FRAME_RATE, FRAME_SIZE = 48_000, 25, (456, 256)


def filled_encoder(family: str, folder: Path, **options: object) -> Encoder:
    """An encoder of the real architecture with a checkpoint filled by `tests/filled/<family>.py`."""
    return _module(family.replace("-", "_")).encoder(folder, **options)


def families() -> list[str]:
    """Families that can be filled and embed clips."""
    names = [one.stem for one in (TESTS / "filled").glob("*.py") if "def encoder(" in one.read_text()]
    return sorted(name for name in names if "clips" in _module(name).ENCODER.towers)


def _module(name: str) -> Any:
    if str(TESTS) not in sys.path:
        sys.path.insert(0, str(TESTS))
    return import_module(f"filled.{name}")


def sound_file(path: Path, seed: int, seconds: float = CLIP_S) -> None:
    """Stereo MP3 at 48 kHz, which the originals can read too: tones that come and go over noise."""
    generator = np.random.default_rng(seed)
    clock = np.arange(round(seconds * SOUND_RATE)) / SOUND_RATE
    mono = 0.05 * generator.standard_normal(len(clock))
    for hertz, beat in generator.uniform((80, 0.1), (8000, 4), (5, 2)):
        mono += 0.1 * np.sin(2 * np.pi * hertz * clock) * np.sin(2 * np.pi * beat * clock)
    samples = np.stack([mono, 0.5 * mono]).astype(np.float32)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libmp3lame", rate=SOUND_RATE, layout="stereo")
        stream.codec_context.open()
        step = stream.codec_context.frame_size
        for first in range(0, samples.shape[1], step):
            part = np.ascontiguousarray(samples[:, first : first + step])
            frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, first, Fraction(1, SOUND_RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def video_file(path: Path, seed: int, seconds: float = CLIP_S) -> None:
    """H.264 of EPIC-KITCHENS' frame size: a texture that moves."""
    width, height = FRAME_SIZE
    generator = np.random.default_rng(seed)
    texture = generator.integers(0, 256, (height // 16, width // 16, 3), np.uint8).repeat(16, 0).repeat(16, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FRAME_RATE)
        stream.width, stream.height, stream.pix_fmt = texture.shape[1] & ~1, texture.shape[0] & ~1, "yuv420p"
        stream.options = {"preset": "ultrafast"}
        for number in range(round(seconds * FRAME_RATE)):
            image = np.roll(texture, number * 3, 1)[: stream.height, : stream.width]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
        container.mux(stream.encode(None))


def make_clips(encoder: Encoder, folder: Path, count: int, workers: int | None = None) -> list[Clip]:
    """Clips of 10 s, each a file of its own, of what the encoder takes; files that are there are kept."""
    listens = isinstance(encoder.clip_input, AudioInput)
    suffix, make = (".mp3", sound_file) if listens else (".mp4", video_file)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:05d}{suffix}" for number in range(count)]
    in_parallel(lambda number: paths[number].is_file() or make(paths[number], number), range(count), workers)
    frames = round(CLIP_S * FRAME_RATE)
    return [
        Clip(path.stem, (Span(path, f"{number:032x}", 0.0, CLIP_S, 0, frames - 1),), path.name)
        for number, path in enumerate(paths)
    ]


def in_parallel(work: Callable[[int], object], numbers: Sequence[int], workers: int | None) -> None:
    """Calls `work` with each number, in threads."""
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, numbers))
