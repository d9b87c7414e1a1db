"""The frames that EgoVLP's own readers picked for the same clips."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from pipeline.media.containers import MediaError
from stages.embed.clips import Clip, Span
from stages.embed.encoder import FrameInput
from stages.embed.frame_sampling import sample, uniform_numbers

GOLDEN = json.loads((Path(__file__).parent / "golden" / "egovlp_sampling.json").read_text())
UNIFORM = {name: picked for name, picked in GOLDEN["sample_frames"].items() if name.endswith("uniform")}
CHUNK_S = 600


def epic_clip(start, stop):
    return Clip("a", (Span(Path("P01_01.MP4"), "d", 0.5, 1.5, start, stop),), "P01_01.MP4")


def ego4d_clip(start_s, stop_s):
    """A clip in chunks, its seconds counted in each."""
    first, last = int(start_s // CHUNK_S), int(stop_s // CHUNK_S)
    spans = [
        Span(
            Path(f"uid/{chunk}.mp4"),
            f"digest {chunk}",
            start_s - chunk * CHUNK_S if chunk == first else 0.0,
            stop_s - chunk * CHUNK_S if chunk == last else float(CHUNK_S),
        )
        for chunk in range(first, last + 1)
    ]
    return Clip("a", tuple(spans), "uid")


@pytest.mark.parametrize("name", [name for name in UNIFORM if name.startswith("n")])
def test_numbers_of_a_clip(name):
    count, start, stop, _ = name[1:].split("_")
    assert uniform_numbers(int(count), int(start), int(stop)) == UNIFORM[name]
    chosen = sample(FrameInput(int(count), "egovlp-epic"), epic_clip(int(start), int(stop)))
    assert (chosen.positions, set(chosen.spans)) == (UNIFORM[name], {0})


@pytest.mark.parametrize("name", [name for name in UNIFORM if name.startswith("s")])
def test_numbers_of_a_whole_video(name):
    count, length = (int(part[part.index("n") + 1 :]) for part in name.split("_")[2:4])
    assert uniform_numbers(count, 0, length) == UNIFORM[name]


@pytest.mark.parametrize("name", GOLDEN["egoclip_reader"])
def test_frames_of_a_clip_in_chunks(name):
    golden = GOLDEN["egoclip_reader"][name]
    clip = ego4d_clip(*(float(time_s) for time_s in name.split("-")))
    chosen = sample(FrameInput(golden["n"], "egovlp-egomcq"), clip)
    reads = [
        (clip.spans[span].source.name, number - 1) for span, number in zip(chosen.spans, chosen.positions, strict=True)
    ]
    wanted = [(file, max(position, 0)) for file, position in golden["reads"]]  # OpenCV takes -1 for 0
    assert reads == wanted + wanted[-1:] * (golden["n"] - len(wanted))


def reference_reads(start_s, stop_s, count=4):
    """`read_frames_cv2_egoclip` of EgoVLP as the seconds go in: (chunk, position sought)."""
    start, stop = int(start_s * 30), int(stop_s * 30)
    bound = int((start_s // CHUNK_S + 1) * CHUNK_S * 30)
    edges = np.linspace(start, stop, min(count, stop) + 1).astype(int)
    picked = [int(one + other - 1) // 2 for one, other in pairwise(edges)]
    chunks = [int(stop_s // CHUNK_S) if number > bound else int(start_s // CHUNK_S) for number in picked]
    return [(f"{chunk}.mp4", max(number % 18000 - 1, 0)) for chunk, number in zip(chunks, picked, strict=True)]


def test_seconds_are_rounded_as_on_the_clock_of_the_whole_video():
    random = np.random.default_rng(0)
    moments = [*(random.integers(0, 54_000, 400) / 30), *(random.integers(0, 18_000, 400) / 10), 598.3, 600.0, 1799.9]
    for start_s in map(float, moments):
        for stop_s in (start_s + 0.1, start_s + 2.3, start_s + 4.0):
            clip = ego4d_clip(start_s, stop_s)
            chosen = sample(FrameInput(4, "egovlp-egomcq"), clip)
            reads = [(clip.spans[s].source.name, n - 1) for s, n in zip(chosen.spans, chosen.positions, strict=True)]
            wanted = reference_reads(start_s, stop_s)
            assert reads == wanted + wanted[-1:] * (4 - len(wanted)), (start_s, stop_s)


@pytest.mark.parametrize(("start_s", "stop_s"), [(12.033333333333333, 14.0), (598.3, 601.7), (1234.5, 1239.0)])
def test_frame_numbers_of_the_whole_video_go_before_seconds(start_s, stop_s):
    """Seconds may have been rounded, or cut at the end of the file."""
    exact = ego4d_clip(start_s, stop_s)
    numbers = {"start_frame": int(start_s * 30), "stop_frame": int(stop_s * 30)}
    rounded = [
        replace(span, start_s=round(span.start_s, 3), stop_s=round(span.stop_s, 0), **numbers) for span in exact.spans
    ]
    wanted = sample(FrameInput(4, "egovlp-egomcq"), exact)
    assert sample(FrameInput(4, "egovlp-egomcq"), replace(exact, spans=tuple(rounded))) == wanted


def test_the_frame_at_the_boundary_is_the_first_of_the_first_chunk():
    chosen = sample(FrameInput(1, "egovlp-egomcq"), ego4d_clip(599.0, 601.0 + 1 / 30 + 1e-9))
    assert (chosen.spans, chosen.positions) == ([0], [1])


def test_a_clip_without_frame_numbers_or_frames():
    with pytest.raises(MediaError, match=r"no frame numbers.*middle-of-parts"):
        sample(FrameInput(4, "egovlp-epic"), epic_clip(None, None))
    with pytest.raises(MediaError, match="ends before its first frame"):
        sample(FrameInput(4, "egovlp-epic"), epic_clip(0, 0))
    with pytest.raises(MediaError, match="ends before its first frame"):
        sample(FrameInput(4, "egovlp-egomcq"), ego4d_clip(0.0, 0.02))
