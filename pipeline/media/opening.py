"""Opening a media file, and the facts that all readers of it share: streams and time zero."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from cache.errors import UserError, is_out_of_files
from pipeline.media.containers import DEFAULT, HEAD_BYTES, OPEN_OPTIONS, MediaError, what_instead

av.logging.set_level(None)
"""FFmpeg prints nothing; the reason of a failure is in the error it returns."""


@contextmanager
def reading() -> Iterator[None]:
    """Turns what the operating system refuses while a medium is read into a fault of that medium.

    Raises:
        MediaError: the medium cannot be read.
        WriteError: what was made of it cannot be written.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, UserError) or is_out_of_files(error):
            raise
        raise MediaError(f"cannot be read ({error.strerror or error})") from error


@contextmanager
def open_media(path: Path, max_pixels: int = DEFAULT.max_pixels) -> Iterator[InputContainer]:
    """Opens a file by its content, whatever its name, if its format is one of `containers.FORMATS`.

    Nothing but the bytes of this file is read.

    Args:
        path: the file.
        max_pixels: of the frames that FFmpeg may decode to find out what the streams are.

    Raises:
        MediaError: it is missing, unreadable, empty or no media file.
    """
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError as error:
        raise MediaError("its name is not UTF-8: rename it") from error
    first_bytes(path)
    try:
        container = av.open(
            f"file:{path}",
            metadata_errors="replace",
            options={"max_pixels": str(max_pixels)},
            container_options=OPEN_OPTIONS,
        )
    except av.error.FFmpegError as error:
        raise MediaError(_why_not_media(path, error)) from error
    except MemoryError as error:
        raise MediaError("claims more than fits into memory") from error
    with container:
        yield container


def first_bytes(path: Path) -> bytes:
    """The start of a file.

    Raises:
        MediaError: it is missing, unreadable or empty.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise MediaError("is a directory")
        if not stat.S_ISREG(mode):
            raise MediaError("not a regular file")
        with open(path, "rb") as file:
            head = file.read(16)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MediaError("file not found") from error
    except PermissionError as error:
        raise MediaError("no permission to read") from error
    except OSError as error:
        loop = error.errno == errno.ELOOP
        raise MediaError("a link to itself" if loop else f"cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise MediaError("no file can have this name") from error
    if not head:
        raise MediaError("empty file (0 bytes)")
    return head


def _why_not_media(path: Path, error: av.error.FFmpegError) -> str:
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
    if what := what_instead(head):
        return f"not a media file ({what})"
    if isinstance(error, av.error.ArgumentError) and not isinstance(error, av.error.InvalidDataError):
        return "not a media file (of no container format that may be opened)"
    if head[4:8] == b"ftyp" and b"moov" not in boxes(path):
        return "truncated: the index of the mp4 file (moov) is missing"
    return f"not a media file ({error.strerror})"


def boxes(path: Path) -> list[bytes]:
    """The names of the outermost boxes of an mp4 file that are whole."""
    names = []
    size = path.stat().st_size
    with open(path, "rb") as file:
        position = 0
        while position + 8 <= size:
            file.seek(position)
            header = file.read(16)
            length = int.from_bytes(header[:4], "big")
            if length == 1:
                length = int.from_bytes(header[8:16], "big")
            if position + length > size:
                break
            names.append(header[4:8])
            if length < 8:
                break
            position += length
    return names


def id3_bytes(head: bytes) -> int:
    """How long an ID3 tag is after its first ten bytes."""
    return sum((byte & 0x7F) << 7 * place for place, byte in enumerate(reversed(head[6:10])))


def best_audio(container: InputContainer) -> AudioStream:
    """The audio track a player would choose.

    Raises:
        MediaError: there is none, or none that can be decoded.
    """
    if not container.streams.audio:
        raise MediaError("no audio track")
    best = container.streams.best("audio")
    decodable = [stream for stream in (best, *container.streams.audio) if stream is not None and stream.codec_context]
    if not decodable:
        raise MediaError("no decoder for the audio track")
    assert isinstance(decodable[0], AudioStream)
    return decodable[0]


def best_video(container: InputContainer, max_pixels: int = DEFAULT.max_pixels) -> VideoStream:
    """The video track a player would choose; cover art does not count.

    Args:
        container: the file.
        max_pixels: a frame with more of them is not decoded, wherever in the file it comes.

    Raises:
        MediaError: there is none, or none that can be decoded.
    """
    videos = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not videos:
        raise MediaError("no video track")
    decodable = [stream for stream in videos if stream.codec_context]
    if not decodable:
        raise MediaError("no decoder for the video track")
    best = container.streams.best("video")
    chosen = best if isinstance(best, VideoStream) and best in decodable else decodable[0]
    chosen.codec_context.options = {"max_pixels": str(max_pixels)}
    return chosen


def timed_streams(container: InputContainer) -> list[Stream]:
    """The streams that make up the clock: audio and video."""
    return [
        stream
        for stream in container.streams
        if stream.type in ("audio", "video") and not stream.disposition & Disposition.attached_pic
    ]


def time_zero(container: InputContainer) -> Fraction:
    """The timestamp, in seconds, of the earliest audio or video: second 0 for everyone who reads the file."""
    starts = [
        stream.start_time * stream.time_base
        for stream in timed_streams(container)
        if stream.start_time is not None and stream.time_base
    ]
    return min(starts, default=Fraction(0))
