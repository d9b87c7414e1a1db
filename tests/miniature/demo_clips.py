"""The demo's clips, decoded, and videos that string them together."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

DEMO = Path(__file__).parents[2] / "configs" / "corpora" / "demo"
SAMPLE_RATE = 48000
FPS = 10
WIDTH, HEIGHT = 160, 90
GAP_S = 0.5


@dataclass(frozen=True)
class DemoClip:
    """A clip of the demo.

    Attributes:
        label: what a viewer might note, e.g. `steam train whistle`.
        descriptions: how a listener describes it; one or two.
        scene: whether it is a scene rather than a single event.
        samples: float32 (n,) at 48 kHz, as long as the frames.
        frames: uint8 (n, 90, 160, 3) at 10 per second.
    """

    label: str
    descriptions: tuple[str, ...]
    scene: bool
    samples: np.ndarray
    frames: np.ndarray

    @property
    def sounding(self) -> str:
        """The last word of the label: what sounds."""
        return self.label.split()[-1]

    @property
    def length_s(self) -> float:
        """Seconds."""
        return len(self.frames) / FPS


@dataclass(frozen=True)
class Placed:
    """A clip and where it lies in a video."""

    clip: DemoClip
    video: str
    start_s: float
    stop_s: float


@dataclass(frozen=True)
class Video:
    """A video made of demo clips with half a second of nothing between them.

    Attributes:
        name: its id.
        clips: in order.
        samples: float32 (n,) at 48 kHz.
        frames: one per 0.1 s.
    """

    name: str
    clips: list[Placed]
    samples: np.ndarray
    frames: list[np.ndarray]


def demo_clips() -> list[DemoClip]:
    """All clips of the demo."""
    with (DEMO / "sources.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [_decoded(row) for row in rows]


def strung(name: str, clips: Sequence[DemoClip], lead_s: float = 0.0) -> Video:
    """Puts clips one after the other into a video that starts with `lead_s` seconds of nothing."""
    black = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    frames = [black] * round(lead_s * FPS)
    sounds = [np.zeros(round(lead_s * SAMPLE_RATE), np.float32)]
    placed = []
    for clip in clips:
        placed.append(Placed(clip, name, len(frames) / FPS, (len(frames) + len(clip.frames)) / FPS))
        frames += [*clip.frames, *[black] * round(GAP_S * FPS)]
        sounds += [clip.samples, np.zeros(round(GAP_S * SAMPLE_RATE), np.float32)]
    return Video(name, placed, np.concatenate(sounds), frames)


def _decoded(row: dict[str, str]) -> DemoClip:
    with av.open(str(DEMO / "media" / f"{row['slug']}.mp4")) as container:
        resampler = av.AudioResampler("flt", "mono", SAMPLE_RATE)
        rate = container.streams.video[0].average_rate
        reformatter = VideoReformatter()
        pictures, sounds = [], []
        for frame in container.decode(container.streams.video[0], container.streams.audio[0]):
            if isinstance(frame, av.VideoFrame):
                pictures.append(reformatter.reformat(frame, WIDTH, HEIGHT, "rgb24", threads=1).to_ndarray())
            else:
                sounds += [one.to_ndarray()[0] for one in resampler.resample(frame)]
        sounds += [one.to_ndarray()[0] for one in resampler.resample(None)]
    n_frames = round(len(pictures) / rate * FPS)
    frames = np.stack([pictures[int(number * rate / FPS)] for number in range(n_frames)])
    n_samples = round(n_frames / FPS * SAMPLE_RATE)
    samples = np.concatenate(sounds)[:n_samples]
    descriptions = tuple(text for text in (row["caption"], row["second_caption"]) if text)
    label = row["slug"].replace("-", " ")
    samples = np.pad(samples, (0, n_samples - len(samples)))
    return DemoClip(label, descriptions, row["subset"] == "scenes", samples, frames)


def level(clip: DemoClip) -> str:
    """How much a listener may recognise of what is seen: the three subsets of the published tables."""
    return "low" if clip.length_s < 2.5 else "moderate" if clip.scene else "high"
