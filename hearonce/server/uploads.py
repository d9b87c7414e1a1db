"""Files that a person drops or records as a query: bounded, looked at in a process of its own, and made plain.

The server itself never decodes what was uploaded: a worker writes the audio as FLAC and the frames as H.264 of at most
480 rows, and encoders read that.
"""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cache.errors import UserError
from hearonce.server.worker import Workers

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

    from pipeline.media.probe import VideoTrack

MOST_BYTES = 256 << 20
LONGEST_S = 600.0
MOST_PIXELS = 4096 * 2304
MOST_TRACKS = 32
MOST_CHANNELS, MOST_RATE = 32, 384_000
MOST_UPLOADS, MOST_KEPT_BYTES = 32, 2 << 30
MOST_ARRIVING = 12
"""That are received or looked at; more are refused, since each may fill the disk by `MOST_BYTES`."""
KEPT_S = 3600.0
FPS, HEIGHT, WIDTH = 15, 480, 4096


@dataclass(frozen=True)
class Upload:
    """A file that can be a query.

    Attributes:
        id: by which it is asked for.
        path: of the plain file.
        has_audio: whether it has an audio track.
        has_video: whether it has frames.
        duration_s: seconds.
    """

    id: str
    path: Path
    has_audio: bool
    has_video: bool
    duration_s: float


class Busy(UserError):
    """Too many files arrive at once."""


class Uploads:
    """The last uploads of this server.

    Args:
        folder: for their files, removed by `close`.
        workers: that look at them.
    """

    def __init__(self, folder: Path, workers: Workers) -> None:
        self._folder, self._workers, self._lock = folder, workers, threading.Lock()
        self._kept: OrderedDict[str, tuple[float, int, Upload]] = OrderedDict()
        self._arriving = 0

    @contextmanager
    def arriving(self) -> Iterator[Path]:
        """A new path for the bytes of an upload; what is there at the end of the block is removed.

        Raises:
            Busy: too many others arrive.
        """
        with self._lock:
            if self._arriving >= MOST_ARRIVING:
                raise Busy(f"{MOST_ARRIVING} files are being uploaded already: try again in a minute.")
            self._arriving += 1
        raw = self._folder / f"{secrets.token_hex(16)}.raw"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            yield raw
        finally:
            raw.unlink(missing_ok=True)
            with self._lock:
                self._arriving -= 1

    def add(self, raw: Path) -> Upload:
        """Makes an upload of received bytes.

        Args:
            raw: from `arriving`.

        Raises:
            UserError: it is no media file, or beyond the limits.
        """
        name, out = raw.stem, raw.with_suffix(".mkv")
        try:
            found = self._workers.run_alone({"what": "upload", "source": str(raw), "out": str(out)})
            size = out.stat().st_size
        except BaseException:
            for left in self._folder.glob(f"*{name}*"):  # also what a process that was killed had begun
                if left != raw:
                    left.unlink(missing_ok=True)
            raise
        upload = Upload(name, out, found["has_audio"], found["has_video"], found["duration_s"])
        with self._lock:
            self._kept[name] = time.monotonic(), size, upload
            self._forget()
        return upload

    def get(self, name: str) -> Upload:
        """An upload by its id.

        Raises:
            UserError: it is not, or no longer, there.
        """
        with self._lock:
            self._forget()
            if name not in self._kept:
                raise UserError("That file is no longer here: upload it again.")
            return self._kept[name][2]

    def close(self) -> None:
        """Removes all files."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _forget(self) -> None:
        while self._kept:
            name, (since, _, upload) = next(iter(self._kept.items()))
            full = len(self._kept) > MOST_UPLOADS or sum(size for _, size, _ in self._kept.values()) > MOST_KEPT_BYTES
            if not (full and len(self._kept) > 1) and time.monotonic() - since < KEPT_S:
                return
            del self._kept[name]
            upload.path.unlink(missing_ok=True)


def normalise(source: Path, out: Path) -> dict[str, Any]:
    """Writes the audio and frames of any media file as Matroska with FLAC and H.264; runs in a worker.

    Args:
        source: the bytes as they came.
        out: the file to write.

    Returns:
        `has_audio`, `has_video`, `duration_s`.

    Raises:
        MediaError: it is no media file, has neither track, or is beyond the limits.
    """
    import av
    import soundfile

    from pipeline.media.audio import extract_audio
    from pipeline.media.containers import Limits, MediaError
    from pipeline.media.opening import open_media
    from pipeline.media.probe import probe

    limits = Limits(
        max_hours=LONGEST_S / 3600,
        max_pixels=MOST_PIXELS,
        max_channels=MOST_CHANNELS,
        max_sample_rate=MOST_RATE,
    )
    with open_media(source, MOST_PIXELS) as opened:
        tracks = len(opened.streams)
    if tracks > MOST_TRACKS:
        raise MediaError(f"has {tracks} tracks, an upload at most {MOST_TRACKS}")
    try:
        info = probe(source, limits)
    except MediaError as error:
        what, of_limits, _ = error.reason.partition(", and max_")  # of a corpus, which an upload has none of
        if not of_limits:
            raise
        raise MediaError(
            f"{what}; an upload has at most {LONGEST_S:.0f} s, {MOST_PIXELS} pixels, {MOST_CHANNELS} channels and "
            f"{MOST_RATE} Hz"
        ) from error
    flac = out.with_suffix(".flac")
    try:
        if info.audio is not None:
            extract_audio(source, flac, "mono")
            if soundfile.info(flac).duration > LONGEST_S + 1:
                raise MediaError(f"longer than {LONGEST_S:.0f} s")
        with av.open(str(out), "w", format="matroska") as container:
            video = _video_stream(container, info.video) if info.video is not None else None
            if info.audio is not None:
                _copy_audio(flac, container)
            if video is not None:
                _copy_frames(source, info.duration_s, container, video)
    finally:
        flac.unlink(missing_ok=True)
    return {
        "has_audio": info.audio is not None,
        "has_video": info.video is not None,
        "duration_s": round(info.duration_s, 3),
    }


def _video_stream(container: OutputContainer, track: VideoTrack) -> VideoStream:
    rows, columns = track.height, track.width
    if track.rotation in (90, 270):
        rows, columns = columns, rows
    scale = min(1.0, HEIGHT / max(1, rows), WIDTH / max(1, columns))
    stream = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": "16"})
    stream.width, stream.height = (max(2, round(side * scale) // 2 * 2) for side in (columns, rows))
    stream.pix_fmt = "yuv420p"
    return stream


def _copy_audio(flac: Path, container: OutputContainer) -> None:
    """Block by block: ten minutes at a high rate would fill the memory."""
    import av
    import numpy as np
    import soundfile

    with soundfile.SoundFile(flac) as file:
        rate, start = file.samplerate, 0
        stream = container.add_stream("flac", rate=rate, layout="mono")
        for block in file.blocks(4096, dtype="int16", always_2d=True):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block.T), "s16", "mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            container.mux(stream.encode(frame))
            start += len(block)
        container.mux(stream.encode(None))


def _copy_frames(source: Path, seconds: float, container: OutputContainer, stream: VideoStream) -> None:
    import av
    import numpy as np
    from PIL import Image

    from pipeline.media.frames import read_frames

    size = stream.width, stream.height
    times = [(number + 0.5) / FPS for number in range(max(1, round(seconds * FPS)))]
    for _, picture in read_frames(source, times, max_pixels=MOST_PIXELS):
        fitted = picture if picture.shape[1::-1] == size else np.asarray(Image.fromarray(picture).resize(size))
        container.mux(stream.encode(av.VideoFrame.from_ndarray(fitted, "rgb24")))
    container.mux(stream.encode(None))
