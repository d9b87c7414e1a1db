"""Writing FLAC files that are complete or not there."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
import soxr

from cache.durable import new_file
from pipeline.media.pcm import FULL_SCALE, Samples, mix_to_mono, quantise, to_floats

HIGHEST_RATE = 655350
HIGHEST_ODD_RATE = 65535
MOST_CHANNELS = 8
BLOCK = 1 << 16
"""Samples per channel that are converted and written at a time."""

FAR_BEYOND = 8.0
"""No recording has many samples so far beyond full scale: these are numbers of another scale."""


def carried_rate(sample_rate: int) -> int:
    """The sample rate itself if FLAC can carry it, else the nearest one below a whole fraction of it.

    FLAC writes rates above 65535 in tens of hertz and none above 655350.
    """
    rate = sample_rate // -(-sample_rate // HIGHEST_RATE)
    return rate - rate % 10 if rate > HIGHEST_ODD_RATE else rate


class FlacWriter:
    """Appends decoded samples to a FLAC file.

    Args:
        file: a binary file, open for reading and writing.
        sample_rate: of the samples; one that FLAC cannot carry is resampled.
        channels: of the samples; at most 8 unless they are mixed.
        mono: write the mean of the channels.
        bits: 16 or 24.

    Attributes:
        sample_rate: of the FLAC file.
        channels: in it.
        n_samples: written so far, complete after `finish`.
        clipped: values beyond full scale among them, by more than rounding.
        far_beyond: values beyond `FAR_BEYOND`.
        peak: the largest of those that is finite, full scale being 1.
    """

    def __init__(
        self, file: io.BufferedRandom, sample_rate: int, channels: int, mono: bool, bits: Literal[16, 24]
    ) -> None:
        self.sample_rate = carried_rate(sample_rate)
        self.channels = 1 if mono else channels
        self.n_samples = 0
        self.clipped = self.far_beyond = 0
        self.peak = 0.0
        self._bits = bits
        self._pending: list[Samples] = []
        self._pending_samples = 0
        self._resampler = None
        if self.sample_rate != sample_rate:
            self._resampler = soxr.ResampleStream(sample_rate, self.sample_rate, self.channels, dtype="float64")
        self._sink = _Sink(file)
        self._sound = soundfile.SoundFile(
            self._sink, "w", self.sample_rate, self.channels, subtype=f"PCM_{bits}", format="FLAC"
        )

    def write(self, values: Samples) -> None:
        """Appends samples as a decoder made them, (n, channels); clips those beyond full scale."""
        self._pending.append(values)
        self._pending_samples += len(values)
        if self._pending_samples >= BLOCK:
            self.flush()

    def write_silence(self, n_samples: int) -> None:
        """Appends silence, in blocks."""
        self.flush()
        while n_samples > 0:
            block = min(n_samples, BLOCK)
            self._write_floats(np.zeros((block, self.channels), np.float32))
            n_samples -= block

    def flush(self) -> None:
        """Writes what has been gathered."""
        if self._pending:
            values = np.concatenate(self._pending)
            if values.dtype.kind == "f":
                self._measure(values)
            samples = to_floats(values)
            self._pending, self._pending_samples = [], 0
            self._write_floats(mix_to_mono(samples) if self.channels == 1 else samples)

    def _measure(self, values: Samples) -> None:
        """Counts what is clipped."""
        highest, lowest = np.fmax.reduce(values, axis=None), np.fmin.reduce(values, axis=None)
        if highest <= FULL_SCALE and lowest >= -FULL_SCALE:
            return
        sizes = np.abs(values)
        finite = sizes[np.isfinite(sizes)]
        self.peak = max(self.peak, float(finite.max(initial=0.0)))
        self.clipped += int(np.count_nonzero(sizes > FULL_SCALE))
        self.far_beyond += int(np.count_nonzero(finite > FAR_BEYOND))

    def _write_floats(self, samples: Samples, last: bool = False) -> None:
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(samples.astype(np.float64), last=last)
            samples = samples.reshape(-1, self.channels)
        self.n_samples += len(samples)
        try:
            self._sound.write(quantise(samples, self._bits))
        finally:
            self._sink.check()

    def finish(self) -> None:
        """Writes what is left."""
        self.flush()
        if self._resampler is not None:
            self._write_floats(np.zeros((0, self.channels)), last=True)
        try:
            self._sound.close()
        finally:
            self._sink.check()

    def abandon(self) -> None:
        """Lets go of the file after an error."""
        with suppress(soundfile.SoundFileError):
            self._sound.close()


class _Sink:
    """What libsndfile writes to. It keeps the error of a failed write, which libsndfile would not tell."""

    def __init__(self, file: io.BufferedRandom) -> None:
        self._file = file
        self._error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self._error = error
            return 0

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def check(self) -> None:
        if self._error is not None:
            raise self._error


@contextmanager
def flac_file(target: Path, sample_rate: int, channels: int, mono: bool, bits: Literal[16, 24]) -> Iterator[FlacWriter]:
    """Opens a FLAC file for writing; it takes its name when it is complete and on the disk.

    Raises:
        OSError: it could not be written, e.g. because the disk is full.
    """
    with new_file(target, clean=False) as temporary, open(temporary, "w+b") as file:
        writer = FlacWriter(file, sample_rate, channels, mono, bits)
        try:
            yield writer
            writer.finish()
            file.flush()
        finally:
            writer.abandon()
