"""What is shown and played of a clip: a still, a waveform or spectrogram, a small preview, and exact cuts.

Audio comes from the extracted audio in the store and frames through the project's own clock, so that what is played is
what was embedded. Every function makes one file; the server calls them in processes of their own (`worker.py`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image

from cache.location import Store
from pipeline.config.corpus import load_corpus
from pipeline.config.params import corpus_place
from pipeline.config.subsets import media_kinds
from pipeline.media.audio_store import AudioStore
from pipeline.media.containers import MediaError
from pipeline.media.frames import RgbImage, read_frames
from pipeline.media.location import MediaPlace, Source, local, open_place
from pipeline.media.numbered_frames import read_numbered
from pipeline.media.probe import probe
from pipeline.media.times import sample_span

PREVIEW_HEIGHT, PREVIEW_FPS, PREVIEW_RATE = 240, 15, 48_000
LONGEST_PREVIEW_S, LONGEST_CUT_S = 60.0, 600.0
IMAGE_SIZE = 480, 120
FRAME_HEIGHT = 270
WINDOW, BANDS = 1024, 96
INK = 76, 134, 214
"""Colour of a waveform, which reads on white and on black."""


@dataclass(frozen=True)
class Span:
    """A stretch of one file, as the table of spans has it."""

    media_path: str
    media_digest: str
    start_s: float
    stop_s: float
    start_frame: int | None = None
    stop_frame: int | None = None


@dataclass(frozen=True)
class Media:
    """The audio and the frames of a clip.

    Attributes:
        corpus: whose clip.
        audio: stretches of audio, in playing order; none where it has none.
        video: likewise of frames.
    """

    corpus: str
    audio: tuple[Span, ...] = ()
    video: tuple[Span, ...] = ()

    def json(self) -> dict[str, Any]:
        """For a worker."""
        return asdict(self)

    @staticmethod
    def of(document: dict[str, Any]) -> Media:
        """What `json` gave."""
        return Media(
            document["corpus"],
            tuple(Span(**span) for span in document["audio"]),
            tuple(Span(**span) for span in document["video"]),
        )

    def cut(self, start_s: float, stop_s: float) -> Media:
        """The same between two times of its file; of frames that are numbered, those in the same part of the clip."""

        def within(spans: Sequence[Span]) -> tuple[Span, ...]:
            return tuple(
                Span(span.media_path, span.media_digest, start_s, stop_s, *_numbers(span, start_s, stop_s))
                for span in spans[:1]
            )

        return Media(self.corpus, within(self.audio), within(self.video))


def _numbers(span: Span, start_s: float, stop_s: float) -> tuple[int | None, int | None]:
    """The first and last frame between two times, for which the frames of the span are spread over its seconds."""
    if span.start_frame is None or span.stop_frame is None or not span.stop_s > span.start_s:
        return span.start_frame, span.stop_frame
    per_second = (span.stop_frame + 1 - span.start_frame) / (span.stop_s - span.start_s)
    first = span.start_frame + math.floor((start_s - span.start_s) * per_second + 1e-6)
    last = span.start_frame + math.ceil((stop_s - span.start_s) * per_second - 1e-6) - 1
    return max(first, 1), max(last, first, 1)


def waveform(media: Media, out: Path) -> None:
    """A PNG of the largest and least sample in each column, transparent behind."""
    width, height = IMAGE_SIZE
    samples = _samples(media, 16_000)
    edges = np.linspace(0, len(samples), width + 1).astype(int)
    pixels = np.zeros((height, width, 4), np.uint8)
    pixels[..., :3] = INK
    middle = height / 2
    for column in range(width):
        part = samples[edges[column] : max(edges[column] + 1, edges[column + 1])]
        low, high = (float(part.min()), float(part.max())) if len(part) else (0.0, 0.0)
        top = int(np.clip(middle - high * middle, 0, height - 1))
        bottom = int(np.clip(middle - low * middle, top, height - 1))
        pixels[top : bottom + 1, column, 3] = 255
    Image.fromarray(pixels).save(out, "PNG")


def spectrogram(media: Media, out: Path) -> None:
    """A PNG of the levels of frequency bands over time: 80 dB, bands spaced as on the mel scale."""
    width, height = IMAGE_SIZE
    rate = 16_000
    samples = _samples(media, rate)
    samples = np.pad(samples, (WINDOW // 2, WINDOW))
    starts = np.linspace(0, len(samples) - WINDOW, width).astype(int)
    window = np.hanning(WINDOW).astype(np.float32)
    power = np.abs(np.fft.rfft(samples[starts[:, None] + np.arange(WINDOW)] * window, axis=1)) ** 2
    mel = np.linspace(0, 2595 * np.log10(1 + rate / 2 / 700), BANDS + 1)
    edges = (700 * (10 ** (mel / 2595) - 1) / rate * WINDOW).astype(int)
    bands = np.stack([power[:, low : max(low + 1, high)].mean(axis=1) for low, high in pairwise(edges)])
    level = 10 * np.log10(np.maximum(bands, 1e-10))
    share = np.clip((level - level.max() + 80) / 80, 0, 1)[::-1]
    colours = np.stack([_ramp(share, *knots) for knots in _COLOURS], axis=2).astype(np.uint8)
    Image.fromarray(colours).resize((width, height), Image.Resampling.BILINEAR).save(out, "PNG")


_COLOURS = ((10, 60, 190, 250, 255), (8, 20, 55, 150, 245), (30, 110, 110, 60, 210))
"""Red, green and blue at levels 0, 1/4, 1/2, 3/4 and 1."""


def _ramp(share: NDArray[np.float64], *knots: float) -> NDArray[np.float64]:
    return np.interp(share, np.linspace(0, 1, len(knots)), knots)


def still(media: Media, out: Path) -> None:
    """A JPEG of the frame in the middle of the clip."""
    picture = next(_frames(media, 1, FRAME_HEIGHT))
    Image.fromarray(picture).save(out, "JPEG", quality=80)


def preview(media: Media, out: Path) -> None:
    """A small WebM (VP8 and Opus) of the clip, for browsers that cannot play the file; of a long clip its beginning."""
    seconds = min(_seconds(media), LONGEST_PREVIEW_S)
    count = max(1, round(seconds * PREVIEW_FPS))
    frames = _frames(media, count, PREVIEW_HEIGHT, seconds) if media.video else None
    samples = _samples(media, PREVIEW_RATE)[: round(seconds * PREVIEW_RATE)] if media.audio else None
    options = {"deadline": "realtime", "cpu-used": "8", "crf": "20"}
    _write(out, "webm", ("libvpx", options, 800_000), "libopus", frames, Fraction(PREVIEW_FPS), samples)


def cut(media: Media, out: Path) -> None:
    """Exactly the clip: FLAC with the samples of the extracted audio, or MP4 (H.264, AAC) with frames of full size.

    Raises:
        MediaError: it is longer than `LONGEST_CUT_S`, or goes on after the end of the file.
    """
    seconds = _seconds(media)
    if seconds > LONGEST_CUT_S:
        raise MediaError(f"{seconds:.0f} s: a cut is at most {LONGEST_CUT_S:.0f} s long")
    if not media.video:
        (span,) = media.audio[:1]
        store = _store(media.corpus)
        store.read(span.media_digest, lambda: _source(media, span), span.start_s, span.stop_s, None)  # extracts
        with soundfile.SoundFile(store.path(span.media_digest)) as file:
            _check_end(span, file.frames / file.samplerate)
            first, last = sample_span(span.start_s, span.stop_s, file.samplerate, file.frames)
            file.seek(first)
            samples = file.read(last - first, dtype="int32", always_2d=True)
            soundfile.write(out, samples, file.samplerate, format="FLAC", subtype=file.subtype)
        return
    span = media.video[0]
    with local(_source(media, span), span.media_digest) as path:
        info = None if path.is_dir() else probe(path)
    track = None
    if info is not None:
        track = info.video
        _check_end(span, info.duration_s)
    rate = Fraction(track.rate if track and track.rate else 25).limit_denominator(1001)
    rate = min(rate, Fraction(60))
    count = max(1, round(seconds * rate))
    samples = _samples(media, PREVIEW_RATE) if media.audio else None
    options = {"preset": "veryfast", "crf": "18"}
    _write(out, "mp4", ("libx264", options, 0), "aac", _frames(media, count, None, seconds), rate, samples)


ROUNDED_S = 0.1
"""By which the end of a cut may lie after that of the file: the page and headers round."""


def _check_end(span: Span, seconds: float) -> None:
    if span.stop_s > seconds + ROUNDED_S:
        raise MediaError(f"no cut from {span.start_s:g} s to {span.stop_s:g} s: the file lasts {seconds:.3f} s")


def _seconds(media: Media) -> float:
    spans = media.audio or media.video
    return sum(span.stop_s - span.start_s for span in spans)


def _source(media: Media, span: Span) -> Source:
    return source_of(open_place(corpus_place(media.corpus).media), span.media_path)


def source_of(place: MediaPlace, path: str) -> Source:
    """Where a medium lies; a table that somebody has sent must not name files outside of the media folder.

    Raises:
        MediaError: it does, or there is no such medium.
    """
    if os.path.isabs(path) or ".." in Path(path).parts:
        raise MediaError(f"{path} is no path below the folder of its corpus")
    return place.source(path)


def _store(corpus: str) -> AudioStore:
    return AudioStore(Store.default(), load_corpus(corpus).audio, media_kinds(corpus))


def _samples(media: Media, rate: int) -> NDArray[np.float32]:
    """float32 (n,), all stretches one after another."""
    if not media.audio:
        raise MediaError("no audio track")
    store = _store(media.corpus)
    parts = []
    for span in media.audio:
        source = lambda span=span: _source(media, span)  # noqa: E731
        parts.append(store.read(span.media_digest, source, span.start_s, span.stop_s, rate))
    return np.concatenate(parts)


def _frames(media: Media, count: int, height: int | None, seconds: float | None = None) -> Iterator[RgbImage]:
    """Frames in the middle of equal parts of the clip, RGB uint8 with an even width and height."""
    if not media.video:
        raise MediaError("no video track")
    total = _seconds(Media(media.corpus, (), media.video)) or 1.0
    shares = (np.arange(count) + 0.5) / count * min(1.0, (seconds or total) / total)
    before = 0.0
    for number, span in enumerate(media.video):
        length = (span.stop_s - span.start_s) / total
        last = number == len(media.video) - 1
        own = shares[(shares >= before) & ((shares < before + length) | last)] - before
        before += length
        if not len(own):
            continue
        inside = np.clip(own / max(length, 1e-9), 0, 1)
        with local(_source(media, span), span.media_digest) as path:
            for picture in _read(path, span, inside, media_kinds(media.corpus).get(span.media_digest)):
                yield _fitted(picture, height)


def _read(path: Path, span: Span, inside: NDArray[np.float64], kind: str | None) -> Iterator[RgbImage]:
    if path.is_dir():
        first, last = span.start_frame or 1, span.stop_frame or span.start_frame or 1
        wanted = np.clip(first + inside * (last - first + 1), first, last).astype(int).tolist()
        yield from (picture for _, picture in read_numbered(path, wanted, clamp=True))
        return
    times = (span.start_s + inside * (span.stop_s - span.start_s)).tolist()
    yield from (picture for _, picture in read_frames(path, times, kind=kind))


def _fitted(picture: RgbImage, height: int | None) -> RgbImage:
    rows, columns = picture.shape[:2]
    scale = 1.0 if height is None else min(1.0, height / rows)
    size = max(2, round(columns * scale) // 2 * 2), max(2, round(rows * scale) // 2 * 2)
    if size == (columns, rows):
        return picture
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))


def _write(
    out: Path,
    form: str,
    video: tuple[str, dict[str, str], int],
    audio_codec: str,
    frames: Iterator[RgbImage] | None,
    fps: Fraction,
    samples: NDArray[np.float32] | None,
) -> None:
    with av.open(str(out), "w", format=form) as container:
        first = next(frames, None) if frames is not None else None
        pictures = sound = None
        if first is not None:
            codec, options, bit_rate = video
            pictures = container.add_stream(codec, rate=fps, options=options)
            pictures.height, pictures.width = first.shape[:2]
            pictures.pix_fmt = "yuv420p"
            if bit_rate:
                pictures.bit_rate = bit_rate
        if samples is not None:
            sound = container.add_stream(audio_codec, rate=PREVIEW_RATE, layout="mono")
        if sound is not None and samples is not None:
            whole = av.AudioFrame.from_ndarray(np.clip(np.nan_to_num(samples), -1, 1)[None], "fltp", "mono")
            whole.sample_rate = PREVIEW_RATE
            for frame in _chunks(whole, sound):
                container.mux(sound.encode(frame))
        if pictures is not None and first is not None and frames is not None:
            for picture in _and(first, frames):
                if picture.shape != first.shape:
                    picture = np.asarray(Image.fromarray(picture).resize((first.shape[1], first.shape[0])))
                container.mux(pictures.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            container.mux(pictures.encode(None))


def _and(first: RgbImage, rest: Iterator[RgbImage]) -> Iterator[RgbImage]:
    yield first
    yield from rest


def _chunks(whole: av.AudioFrame, stream: av.AudioStream) -> Iterator[av.AudioFrame | None]:
    resampler = av.AudioResampler(stream.format, stream.layout, stream.rate)
    yield from resampler.resample(whole)
    yield from resampler.resample(None)
    yield None


MAKERS = {"waveform": waveform, "spectrogram": spectrogram, "frame": still, "preview": preview, "cut": cut}
