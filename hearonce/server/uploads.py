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
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from cache.errors import UserError
from hearonce.server.worker import Workers

MOST_BYTES = 256 << 20
LONGEST_S = 600.0
MOST_PIXELS = 4096 * 2304
MOST_UPLOADS = 32
KEPT_S = 3600.0
FPS, HEIGHT = 15, 480


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


class Uploads:
    """The last uploads of this server.

    Args:
        folder: for their files, removed by `close`.
        workers: that look at them.
    """

    def __init__(self, folder: Path, workers: Workers) -> None:
        self._folder, self._workers, self._lock = folder, workers, threading.Lock()
        self._kept: OrderedDict[str, tuple[float, Upload]] = OrderedDict()

    def raw_path(self) -> Path:
        """A new path for the bytes of an upload."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder / f"{secrets.token_urlsafe(16)}.raw"

    def add(self, raw: Path) -> Upload:
        """Makes an upload of received bytes, which are removed.

        Raises:
            UserError: it is no media file, or beyond the limits.
        """
        name = raw.stem
        out = raw.with_suffix(".mkv")
        try:
            found = self._workers.run_alone({"what": "upload", "source": str(raw), "out": str(out)})
        except UserError:
            out.unlink(missing_ok=True)
            raise
        finally:
            raw.unlink(missing_ok=True)
        upload = Upload(name, out, found["has_audio"], found["has_video"], found["duration_s"])
        with self._lock:
            self._kept[name] = time.monotonic(), upload
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
            return self._kept[name][1]

    def close(self) -> None:
        """Removes all files."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _forget(self) -> None:
        while self._kept:
            name, (since, upload) = next(iter(self._kept.items()))
            if len(self._kept) <= MOST_UPLOADS and time.monotonic() - since < KEPT_S:
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
    import numpy as np
    import soundfile
    from PIL import Image

    from pipeline.media.audio import extract_audio
    from pipeline.media.containers import Limits, MediaError
    from pipeline.media.frames import read_frames
    from pipeline.media.probe import probe

    info = probe(source, Limits(max_hours=LONGEST_S / 3600, max_pixels=MOST_PIXELS))
    flac = out.with_suffix(".flac")
    samples, rate = None, 48_000
    if info.audio is not None:
        extract_audio(source, flac, "mono")
        samples, rate = soundfile.read(flac, dtype="int16", always_2d=True)
        flac.unlink()
        if len(samples) > (LONGEST_S + 1) * rate:
            raise MediaError(f"longer than {LONGEST_S:.0f} s")
    with av.open(str(out), "w", format="matroska") as container:
        stream = sound = None
        size = (0, 0)
        if info.video is not None:
            rows, columns = info.video.height, info.video.width
            if info.video.rotation in (90, 270):
                rows, columns = columns, rows
            scale = min(1.0, HEIGHT / max(1, rows))
            size = max(2, round(columns * scale) // 2 * 2), max(2, round(rows * scale) // 2 * 2)
            stream = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": "16"})
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        if samples is not None:
            sound = container.add_stream("flac", rate=rate, layout="mono")
        if sound is not None and samples is not None:
            step = 4096
            for start in range(0, len(samples), step):
                block = np.ascontiguousarray(samples[start : start + step].T)
                frame = av.AudioFrame.from_ndarray(block, "s16", "mono")
                frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
                container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
        if stream is not None:
            count = max(1, round(info.duration_s * FPS))
            for _, picture in read_frames(source, [(number + 0.5) / FPS for number in range(count)]):
                fitted = picture if picture.shape[1::-1] == size else np.asarray(Image.fromarray(picture).resize(size))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(fitted, "rgb24")))
            container.mux(stream.encode(None))
    return {
        "has_audio": info.audio is not None,
        "has_video": info.video is not None,
        "duration_s": round(info.duration_s, 3),
    }
