"""Peak memory of embedding one long video with many clips: `python -m benchmarks.encoders.memory FAMILY...`."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from benchmarks.cache.measure import show
from benchmarks.encoders.material import families

CHILD = """
import benchmarks.encoders, json, resource, sys, time
from pathlib import Path
from benchmarks.encoders.material import filled_encoder
from benchmarks.encoders.speed import Bench
from cache.location import Store
from pipeline.monitor.device import pick_device
from stages.embed.clips import Clip, Span
from stages.embed.towers import load_tower
family, checkpoints, video, folder, device = sys.argv[1:6]
seconds, count, batch_size, frame_rate = map(float, sys.argv[6:])
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
def clip(number):
    start, stop = (seconds * (number + end) / count for end in (0, 1))
    span = Span(Path(video), "0" * 32, start, stop, round(start * frame_rate), round(stop * frame_rate) - 1)
    return Clip(str(number), (span,), "video")
encoder = filled_encoder(family, Path(checkpoints))
device = pick_device(device)
tower = load_tower(encoder, "clips", device)
loaded = peak()
bench = Bench(encoder, tower, [clip(number) for number in range(int(count))], int(batch_size), None, device)
rate, summary, _ = bench.from_files(Store(Path(folder)))
print(json.dumps({"loaded": loaded, "peak": peak(), "rate": rate, "seconds": summary.stopwatch.seconds}))
"""


def long_video(path: Path, seconds: int, size: tuple[int, int], frame_rate: int, sample_rate: int) -> None:
    """A video that is made quickly: MPEG-4 of one moving texture, FLAC of noise over a hum."""
    generator = np.random.default_rng(0)
    noise = (generator.integers(-3000, 3000, sample_rate * 7) + 3000 * np.sin(np.arange(sample_rate * 7) / 50)).astype(
        "i2"
    )
    width, height = size
    texture = generator.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    pictures = [
        av.VideoFrame.from_ndarray(np.ascontiguousarray(np.roll(texture, 8 * i, 1)[:height, :width]), format="rgb24")
        for i in range(16)
    ]
    pictures = [picture.reformat(format="yuv420p") for picture in pictures]
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=frame_rate)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        sound = container.add_stream("flac", rate=sample_rate, layout="mono")
        for second in range(seconds):
            for i in range(frame_rate):
                frame = pictures[(second * frame_rate + i) % len(pictures)]
                frame.pts, frame.time_base = second * frame_rate + i, Fraction(1, frame_rate)
                container.mux(video.encode(frame))
            first = second % 7 * sample_rate
            block = av.AudioFrame.from_ndarray(noise[None, first : first + sample_rate], format="s16", layout="mono")
            block.sample_rate, block.pts, block.time_base = sample_rate, second * sample_rate, Fraction(1, sample_rate)
            container.mux(sound.encode(block))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))


def peak_memory(
    family: str, video: Path, folder: Path, *, seconds: int, clips: int, batch_size: int, frame_rate: int, device: str
) -> dict[str, object]:
    """Embeds the clips of a video in a process of its own.

    Returns:
        `loaded` and `peak`: its resident memory in bytes, once the model was loaded and at most; `rate`: clips/s.
    """
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir(exist_ok=True)
    subprocess.run(  # the checkpoint is filled in another process, whose memory does not count
        [
            sys.executable,
            "-c",
            f"from benchmarks.encoders.material import *; filled_encoder({family!r}, Path({str(checkpoints)!r}))",
        ],
        check=True,
    )
    numbers = [str(number) for number in (seconds, clips, batch_size, frame_rate)]
    with tempfile.TemporaryDirectory(dir=folder) as store:
        command = [sys.executable, "-c", CHILD, family, str(checkpoints), str(video), store, device, *numbers]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Makes the video, embeds it with each family and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*", default=families(), help=f"of {', '.join(families())}; all by default")
    parser.add_argument("--seconds", type=int, default=3 * 3600)
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--size", type=int, nargs=2, default=(320, 180))
    parser.add_argument("--frame-rate", type=int, default=5)
    parser.add_argument("--sample-rate", type=int, default=16_000)
    parser.add_argument("--device", default="cpu")
    parsed = parser.parse_args()
    lines = []
    with tempfile.TemporaryDirectory(prefix="hearonce-benchmark-") as temporary:
        video = Path(temporary) / "long.mkv"
        long_video(video, parsed.seconds, tuple(parsed.size), parsed.frame_rate, parsed.sample_rate)
        for family in parsed.families:
            options = {
                name: getattr(parsed, name) for name in ("seconds", "clips", "batch_size", "frame_rate", "device")
            }
            found = peak_memory(family, video, Path(temporary), **options)
            lines.append(
                [family, *(f"{found[name] / 2**30:.2f}" for name in ("loaded", "peak")), f"{found['rate']:.1f}"]
            )
    title = f"{parsed.clips} clips of one video of {parsed.seconds / 3600:.2f} h, batches of {parsed.batch_size}"
    show(title, ["encoder", "with the model loaded, GiB", "at most, GiB", "clips/s"], lines)


if __name__ == "__main__":
    main()
