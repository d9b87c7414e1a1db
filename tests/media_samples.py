"""Real media files for tests, generated with PyAV: every container, codec, timing and kind of damage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from pipeline.media.times import sample_position

NUMBER_BITS = 12
"""A numbered frame holds this many bits as a row of black and white bars."""

AUDIO_CODECS = {
    ".wav": "pcm_s16le",
    ".flac": "flac",
    ".mp3": "libmp3lame",
    ".ogg": "libopus",
    ".m4a": "aac",
    ".mp4": "aac",
    ".mov": "aac",
    ".mkv": "aac",
    ".webm": "libopus",
    ".avi": "libmp3lame",
}
VIDEO_CODECS = {".mp4": "libx264", ".mov": "libx264", ".mkv": "libx264", ".webm": "libvpx", ".avi": "mpeg4"}
LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 6: "5.1", 8: "7.1", 16: "hexadecagonal"}


def tone(duration_s: float, sample_rate: int, hertz: float = 440.0, channels: int = 1, gain: float = 0.5) -> np.ndarray:
    """A sine as float32 (n, channels); each channel an octave above the one before."""
    clock = np.arange(round(duration_s * sample_rate)) / sample_rate
    waves = [gain * np.sin(2 * np.pi * hertz * 2**channel * clock) for channel in range(channels)]
    return np.stack(waves, axis=1).astype(np.float32)


def noise(duration_s: float, sample_rate: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Uniform noise in [-0.5, 0.5) as float32 (n, channels)."""
    size = (round(duration_s * sample_rate), channels)
    return (np.random.default_rng(seed).random(size) - 0.5).astype(np.float32)


def clicks(duration_s: float, sample_rate: int, times_s: Iterable[float], channels: int = 1) -> np.ndarray:
    """Silence with a single sample of 0.9 at each time, as float32 (n, channels)."""
    samples = np.zeros((round(duration_s * sample_rate), channels), np.float32)
    for time_s in times_s:
        samples[sample_position(time_s, sample_rate)] = 0.9
    return samples


def bursts(duration_s: float, sample_rate: int, times_s: Iterable[float], burst_s: float = 0.01) -> np.ndarray:
    """Silence with a short burst of noise from each time on: clicks that survive lossy codecs, (n, 1)."""
    samples = np.zeros((round(duration_s * sample_rate), 1), np.float32)
    for time_s in times_s:
        first = sample_position(time_s, sample_rate)
        burst = noise(burst_s, sample_rate, seed=1) * 1.8
        samples[first : first + len(burst)] = burst[: len(samples) - first]
    return samples


def numbered_frames(count: int, width: int = 192, height: int = 64, first: int = 0) -> list[np.ndarray]:
    """Frames that carry their own number, which `frame_number` reads back after any codec."""
    return [_numbered(number, width, height) for number in range(first, first + count)]


def _numbered(number: int, width: int, height: int) -> np.ndarray:
    bits = [(number >> bit) & 1 for bit in range(NUMBER_BITS)]
    row = np.repeat(np.array(bits, np.uint8) * 200 + 28, -(-width // NUMBER_BITS))[:width]
    return np.ascontiguousarray(np.broadcast_to(row[None, :, None], (height, width, 3)))


def frame_number(image: np.ndarray) -> int:
    """The number of a frame made by `numbered_frames`."""
    width = image.shape[1]
    bar = -(-width // NUMBER_BITS)
    middles = [min(bit * bar + bar // 2, width - 1) for bit in range(NUMBER_BITS)]
    levels = image[:, middles].astype(float).mean(axis=(0, 2))
    return sum(int(level > 128) << bit for bit, level in enumerate(levels))


def corner_frame(width: int = 64, height: int = 48) -> np.ndarray:
    """Red, green, blue and white quarters (top left, top right, bottom left, bottom right)."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = (255, 0, 0)
    image[: height // 2, width // 2 :] = (0, 255, 0)
    image[height // 2 :, : width // 2] = (0, 0, 255)
    image[height // 2 :, width // 2 :] = (255, 255, 255)
    return image


def corners(image: np.ndarray) -> str:
    """The four quarters of an image as letters, e.g. "RGBW", from top left to bottom right."""
    height, width = image.shape[:2]
    letters = {(1, 0, 0): "R", (0, 1, 0): "G", (0, 0, 1): "B", (1, 1, 1): "W"}
    spots = [(height // 4, width // 4), (height // 4, 3 * width // 4), (3 * height // 4, width // 4)]
    spots.append((3 * height // 4, 3 * width // 4))
    return "".join(letters.get(tuple((image[spot] > 128).astype(int).tolist()), "?") for spot in spots)


def write_media(
    path: Path,
    *,
    samples: np.ndarray | None = None,
    sample_rate: int = 48000,
    audio_codec: str | None = None,
    audio_start_s: float = 0.0,
    audio_gaps: Sequence[tuple[float, float]] = (),
    frames: Sequence[np.ndarray] | None = None,
    frame_times_s: Sequence[float] | None = None,
    rate: int | Fraction = 25,
    video_codec: str | None = None,
    pixel_format: str | None = None,
    video_options: Mapping[str, str] | None = None,
    key_every: int = 12,
    b_frames: int = 0,
    rotation: int = 0,
    interlaced: bool = False,
    container_format: str | None = None,
    container_options: Mapping[str, str] | None = None,
) -> Path:
    """Write one media file and return its path.

    Args:
        path: its ending picks container and codecs unless they are named.
        samples: float samples (n, channels), or None for a file without sound.
        sample_rate: of the sound.
        audio_codec: an FFmpeg encoder, e.g. "pcm_f32le".
        audio_start_s: when the sound starts on the file's clock.
        audio_gaps: (time, length) pairs: from the sample at that time on, timestamps are later by the length (earlier
            where it is negative).
        frames: RGB images, or None for a file without picture.
        frame_times_s: one time per frame (variable frame rate); by default evenly spaced.
        rate: frames per second, also where frame_times_s is given (the nominal rate).
        video_codec: an FFmpeg encoder, e.g. "ffv1".
        pixel_format: of the coded picture; yuv420p by default.
        video_options: options of the video encoder.
        key_every: frames from one keyframe to the next.
        b_frames: bidirectional frames in a row.
        rotation: degrees anticlockwise that a player turns the picture for display.
        interlaced: mark frames as interlaced, top field first.
        container_format: a muxer that the path's ending does not name.
        container_options: options of the muxer, e.g. {"movflags": "faststart"}.
    """
    ending = path.suffix.lower()
    with av.open(str(path), "w", format=container_format, options=dict(container_options or {})) as container:
        packets = []
        if frames is not None:
            stream = container.add_stream(video_codec or VIDEO_CODECS[ending], rate=rate)
            stream.width, stream.height = frames[0].shape[1], frames[0].shape[0]
            stream.pix_fmt = pixel_format or "yuv420p"
            stream.codec_context.gop_size = key_every
            stream.codec_context.max_b_frames = b_frames
            stream.codec_context.thread_count = 1
            stream.options = dict(video_options or {})
            if interlaced:
                stream.codec_context.flags |= 1 << 18 | 1 << 29
            if frame_times_s is not None:
                stream.codec_context.time_base = Fraction(1, 90000)
            if rotation:
                stream.set_display_rotation(rotation)
            packets.append(_video_packets(stream, frames, frame_times_s, Fraction(rate)))
        if samples is not None:
            codec = audio_codec or AUDIO_CODECS[ending]
            sound = container.add_stream(codec, rate=sample_rate, layout=LAYOUTS[samples.shape[1]])
            packets.append(_audio_packets(sound, samples, sample_rate, audio_start_s, audio_gaps))
        for packet in _by_time(packets):
            container.mux(packet)
    return path


def _video_packets(stream, frames, frame_times_s, rate):
    reformatter = VideoReformatter()  # a frame's own would be set up anew for each
    for number, image in enumerate(frames):
        frame = reformatter.reformat(
            av.VideoFrame.from_ndarray(image, format="rgb24"), format=stream.pix_fmt, threads=1
        )
        if frame_times_s is None:
            frame.pts, frame.time_base = number, 1 / rate
        else:
            frame.pts, frame.time_base = round(frame_times_s[number] * 90000), Fraction(1, 90000)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _audio_packets(stream, samples, sample_rate, start_s, gaps):
    context = stream.codec_context
    context.open()
    step = context.frame_size or 1024
    format_name = context.format.name
    resampler = None if format_name == "flt" else av.AudioResampler(format_name, stream.layout.name, sample_rate)
    for first in range(0, len(samples), step):
        block = np.ascontiguousarray(samples[first : first + step], np.float32).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(block, format="flt", layout=stream.layout.name)
        frame.sample_rate = sample_rate
        shift = sum(length for time_s, length in gaps if first >= round(time_s * sample_rate))
        frame.pts, frame.time_base = first + round((start_s + shift) * sample_rate), Fraction(1, sample_rate)
        for piece in [frame] if resampler is None else resampler.resample(frame):
            yield from stream.encode(piece)
    yield from stream.encode(None)


def _by_time(sources):
    heads = [(next(source, None), source) for source in sources]
    heads = [head for head in heads if head[0] is not None]
    while heads:
        first = min(range(len(heads)), key=lambda index: float((heads[index][0].dts or 0) * heads[index][0].time_base))
        packet, source = heads[first]
        yield packet
        following = next(source, None)
        if following is None:
            heads.pop(first)
        else:
            heads[first] = (following, source)


def cut_short(path: Path, keep: float) -> Path:
    """Keep only the first part of a file's bytes, as a broken copy does."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    return path


def damage(path: Path, first: float, last: float, seed: int = 0) -> Path:
    """Overwrite the bytes from one fraction of the file to another with noise."""
    data = bytearray(path.read_bytes())
    start, stop = int(len(data) * first), int(len(data) * last)
    data[start:stop] = np.random.default_rng(seed).integers(0, 256, stop - start, dtype=np.uint8).tobytes()
    path.write_bytes(bytes(data))
    return path
