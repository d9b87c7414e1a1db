"""Sounds and pictures of the demo corpus: decode, draw a picture of a sound, encode to MP4."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

LONGEST_S = 12.0
QUIETEST_PEAK, LOUDEST_PEAK, NEW_PEAK = 0.3, 0.97, 0.8
WIDTH, HEIGHT, PICTURES_PER_S = 320, 180, 10
WAVE_HEIGHT = 44
LOWEST_HZ, HIGHEST_HZ = 60.0, 12_000.0
AAC = {"aac_pns": "0", "aac_is": "0"}  # no noise substitution, no intensity stereo: the waveform is kept
BIT_EXACT = 1 << 23  # FFmpeg's AV_CODEC_FLAG_BITEXACT: no encoder version in the stream


@dataclass(frozen=True)
class Sound:
    """Samples in [-1, 1], one row per channel."""

    samples: np.ndarray
    rate: int

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.samples.shape[1] / self.rate


def decode_sound(data: bytes) -> Sound:
    """All of it, mono or stereo as it is; more channels become stereo."""
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.audio[0]
        layout = "mono" if stream.channels == 1 else "stereo"
        to_float = av.AudioResampler(format="fltp", layout=layout, rate=stream.rate)
        frames = [f for frame in container.decode(stream) for f in to_float.resample(frame)]
        frames += to_float.resample(None)
        return Sound(np.concatenate([f.to_ndarray() for f in frames], axis=1), stream.rate)


def fit(sound: Sound) -> Sound:
    """At most LONGEST_S; louder or softer only where the peak calls for it."""
    samples = sound.samples[:, : round(LONGEST_S * sound.rate)]
    peak = float(np.abs(samples).max())
    if not QUIETEST_PEAK <= peak <= LOUDEST_PEAK:
        samples = samples * (NEW_PEAK / peak)
    return Sound(samples.astype(np.float32), sound.rate)


def palette(values: np.ndarray) -> np.ndarray:
    """Values in [0, 1] as colours from near black over violet and orange to pale yellow."""
    stops = np.array([[8, 8, 20], [72, 24, 110], [190, 55, 95], [245, 150, 60], [252, 245, 190]])
    where = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(values, where, stops[:, c]) for c in range(3)], -1)


def spectrogram(mono: np.ndarray, rate: int, height: int) -> np.ndarray:
    """Level in [0, 1] over log frequency (rows, top is high) and time (WIDTH columns)."""
    size = 2048
    padded = np.pad(mono, size // 2)
    starts = np.linspace(0, len(mono) - 1, WIDTH).astype(int)
    frames = np.stack([padded[s : s + size] for s in starts]) * np.hanning(size)
    power = np.abs(np.fft.rfft(frames)) ** 2
    hertz = np.geomspace(min(HIGHEST_HZ, rate / 2), LOWEST_HZ, height)
    rows = np.stack([np.interp(hertz, np.fft.rfftfreq(size, 1 / rate), p) for p in power], 1)
    decibel = 10 * np.log10(rows + 1e-10)
    return np.clip((decibel - decibel.max() + 70) / 70, 0, 1)


def draw(sound: Sound) -> Iterator[np.ndarray]:
    """Pictures of the sound: spectrogram over waveform, lit up to a moving play line."""
    mono = sound.samples.mean(axis=0)
    top = palette(spectrogram(mono, sound.rate, HEIGHT - WAVE_HEIGHT))
    peaks = np.array([np.abs(part).max(initial=0) for part in np.array_split(mono, WIDTH)])
    reach = np.maximum(peaks / max(peaks.max(), 1e-9) * (WAVE_HEIGHT / 2 - 3), 0.5)
    row = np.abs(np.arange(WAVE_HEIGHT) - (WAVE_HEIGHT - 1) / 2)[:, None]
    bottom = np.where((row <= reach)[..., None], [120.0, 200, 220], [8.0, 8, 20])
    lit = np.concatenate([top, bottom])
    dark = 0.3 * lit
    count = max(2, int(np.ceil(sound.seconds * PICTURES_PER_S)))
    for index in range(count):
        line = round((index + 0.5) / PICTURES_PER_S / sound.seconds * WIDTH)
        picture = np.concatenate([lit[:, :line], dark[:, line:]], axis=1)
        picture[:, min(line, WIDTH - 1)] = 255
        yield picture.astype(np.uint8)


ZOOM = 0.84, 0.98
"""Share of the frame that a still image fills at the beginning and at the end."""


def show(data: bytes, seconds: float) -> Iterator[np.ndarray]:
    """Pictures of a still image on white, without its empty margins, slowly coming nearer."""
    image = Image.open(io.BytesIO(data)).convert("RGBA")
    image = image.crop(image.getchannel("A").getbbox())
    count = max(2, int(np.ceil(seconds * PICTURES_PER_S)))
    for index in range(count):
        share = ZOOM[0] + (ZOOM[1] - ZOOM[0]) * index / (count - 1)
        scale = share * min(WIDTH / image.width, HEIGHT / image.height)
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        nearer = image.resize(size, Image.Resampling.LANCZOS)
        frame = Image.new("RGB", (WIDTH, HEIGHT), "white")
        frame.paste(nearer, ((WIDTH - size[0]) // 2, (HEIGHT - size[1]) // 2), nearer)
        yield np.asarray(frame)


def film(data: bytes) -> tuple[Iterable[np.ndarray], Fraction]:
    """The moving picture of a video, at most WIDTH wide, and its rate."""
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        scale = min(1, WIDTH / stream.width)
        size = tuple(round(side * scale / 2) * 2 for side in (stream.width, stream.height))
        rate = stream.average_rate or Fraction(25)
        limit = round(LONGEST_S * rate)
        pictures = [
            np.asarray(frame.to_image().resize(size, Image.Resampling.LANCZOS))
            for frame, _ in zip(container.decode(stream), range(limit), strict=False)
        ]
    return pictures, rate


def write_video(path: Path, sound: Sound, pictures: Iterable[np.ndarray], rate: Fraction) -> None:
    """H.264 and AAC in MP4, without anything that changes from run to run.

    x264 runs in one thread and without its assembly, which gave other bytes from run to run.
    """
    flags = {"movflags": "+faststart", "fflags": "+bitexact"}
    with av.open(str(path), "w", options=flags) as container:
        layout = "mono" if len(sound.samples) == 1 else "stereo"
        audio: Any = container.add_stream("aac", rate=sound.rate, layout=layout, options=AAC)
        audio.bit_rate = 128_000 if layout == "mono" else 192_000
        audio.codec_context.flags |= BIT_EXACT
        video: Any = None
        packets = []
        for index, picture in enumerate(pictures):
            if video is None:
                options = {"crf": "28", "preset": "slow", "threads": "1", "x264-params": "asm=0"}
                video = container.add_stream("libx264", rate=rate, options=options)
                video.height, video.width = picture.shape[:2]
                video.pix_fmt = "yuv420p"
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, 1 / rate
            packets += video.encode(frame)
        packets += video.encode(None)
        for start in range(0, sound.samples.shape[1], 1024):
            part = np.ascontiguousarray(sound.samples[:, start : start + 1024])
            block = av.AudioFrame.from_ndarray(part, format="fltp", layout=layout)
            block.sample_rate, block.pts = sound.rate, start
            block.time_base = Fraction(1, sound.rate)
            packets += audio.encode(block)
        packets += audio.encode(None)
        for packet in packets:
            container.mux(packet)
