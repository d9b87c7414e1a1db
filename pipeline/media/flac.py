"""Writing FLAC files that are complete or not there."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import soundfile
import soxr
from google_crc32c import value as crc32c
from numpy.typing import NDArray

from cache.durable import new_file

BLOCK_BYTES = 1 << 16
"""Bytes under one checksum: little enough that seeking in a long file reads little, and 8 digits for each."""


def checksums(path: Path) -> str:
    """The CRC-32C of each block of a file, as eight hex digits each, one after another.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        return "".join(f"{crc32c(block):08x}" for block in iter(lambda: _filled(file), b""))


def _filled(file: io.FileIO) -> bytes:
    """The next block, shorter only at the end of the file."""
    block = file.read(BLOCK_BYTES)
    while len(block) < BLOCK_BYTES and (more := file.read(BLOCK_BYTES - len(block))):
        block += more
    return block


class CheckedFile:
    """A binary file for libraries that take a Python object, such as libsndfile; a thread should use one alone.

    An exception cannot pass through libsndfile: a wrong block reads as the end of the file, and `fault` says why.

    Args:
        path: the file.
        nbytes: that it must have.
        sums: of its blocks, see `checksums`.

    Attributes:
        fault: what was found wrong, or nothing.
        version: inode and ctime; a file that took the place of this one has others.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path, nbytes: int, sums: str) -> None:
        self._file = path.open("rb", buffering=0)
        self._nbytes, self._sums = nbytes, sums
        self._position, self._number, self._block = 0, -1, b""
        status = os.fstat(self._file.fileno())
        self.version = status.st_ino, status.st_ctime_ns
        self.fault = "" if status.st_size == nbytes else f"has {status.st_size} bytes instead of {nbytes}"

    def __enter__(self) -> CheckedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As of any file."""
        begin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._nbytes}[whence]
        self._position = max(begin + offset, 0)
        return self._position

    def tell(self) -> int:
        """As of any file."""
        return self._position

    def readinto(self, target: Any) -> int:
        """As of any file; nothing after a fault."""
        view = memoryview(target).cast("B")
        done = 0
        while done < len(view) and self._position < self._nbytes and not self.fault:
            number, first = divmod(self._position, BLOCK_BYTES)
            if number != self._number:
                self._load(number)
            piece = memoryview(self._block)[first : first + len(view) - done]
            if not piece:
                break
            view[done : done + len(piece)] = piece
            done, self._position = done + len(piece), self._position + len(piece)
        return done

    def read(self, size: int = -1) -> bytes:
        """As of any file; nothing after a fault."""
        target = bytearray(self._nbytes - self._position if size < 0 else size)
        return bytes(target[: self.readinto(target)])

    def check(self) -> str:
        """Reads all of the file: what is wrong with it, or nothing."""
        for number in range(-(-self._nbytes // BLOCK_BYTES)):
            if not self.fault:
                self._load(number)
        return self.fault

    def _load(self, number: int) -> None:
        self._number, self._block = -1, b""
        try:
            self._file.seek(number * BLOCK_BYTES)
            block = _filled(self._file)
        except OSError as error:
            self.fault = f"cannot be read ({error.strerror})"
            return
        if f"{crc32c(block):08x}" != self._sums[8 * number : 8 * number + 8]:
            self.fault = f"does not match its checksum (bytes {number * BLOCK_BYTES} to {(number + 1) * BLOCK_BYTES})"
            return
        self._number, self._block = number, block


Samples = NDArray[Any]
"""(n, channels), of a decoder's type or float32 or float64."""

FULL_SCALE = 1 + 2**-15
"""Samples beyond it are clipped by more than rounding to 16 bits would."""

WITHOUT_ARRAY = {"s64": np.int64, "s64p": np.int64}
"""Sample formats that PyAV does not turn into arrays."""


def frame_values(frame: av.AudioFrame) -> Samples:
    """The samples of a frame as the decoder made them, (n, channels)."""
    values: Samples
    if dtype := WITHOUT_ARRAY.get(frame.format.name):
        each = frame.samples * (1 if frame.format.is_planar else frame.layout.nb_channels)
        values = np.stack([np.frombuffer(plane, dtype, each) for plane in frame.planes])
    else:
        values = frame.to_ndarray()
    return values.T if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels)


def to_floats(values: Samples) -> Samples:
    """A decoder's samples with full scale 1: float32 where that is exact, else float64.

    What is not a number becomes silence.
    """
    if values.dtype.kind == "f":
        finite = np.isfinite(values.sum())  # false as well where finite ones are too many and too large
        return values if finite else np.nan_to_num(values, nan=0.0, posinf=1.0, neginf=-1.0)
    floats: Samples = values.astype(np.float32 if values.dtype.itemsize < 4 else np.float64)
    if values.dtype == np.uint8:
        floats -= 128
    floats /= 2 ** (8 * values.dtype.itemsize - 1)
    return floats


def mix_to_mono(samples: Samples) -> Samples:
    """The mean of the channels, computed in float64: (n, 1)."""
    if samples.shape[1] == 1:
        return samples
    total = samples[:, :1].astype(np.float64)
    for channel in range(1, samples.shape[1]):  # by columns, which is several times faster than along short rows
        total += samples[:, channel : channel + 1]
    total /= samples.shape[1]
    return total


def quantise(samples: Samples, bits: Literal[16, 24]) -> Samples:
    """Floats as integers of so many bits: x * 2^(bits - 1), halves to even, clipped. No dither.

    Returns:
        int16 for 16 bits; int32 with the 24 bits in the upper three bytes for 24, as libsndfile takes them.
    """
    scale = 2 ** (bits - 1)
    scaled: Samples = (samples.astype(np.float64) if bits == 24 else samples) * samples.dtype.type(scale)
    np.clip(np.rint(scaled, out=scaled), -scale, scale - 1, out=scaled)
    return scaled.astype(np.int16) if bits == 16 else scaled.astype(np.int32) << 8


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
        self._writer = soundfile.SoundFile(
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
            self._writer.write(quantise(samples, self._bits))
        finally:
            self._sink.check()

    def finish(self) -> None:
        """Writes what is left."""
        self.flush()
        if self._resampler is not None:
            self._write_floats(np.zeros((0, self.channels)), last=True)
        try:
            self._writer.close()
        finally:
            self._sink.check()

    def abandon(self) -> None:
        """Lets go of the file after an error."""
        with suppress(soundfile.SoundFileError):
            self._writer.close()


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
