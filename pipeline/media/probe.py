"""What a media file, or a folder of frames, holds, by its headers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from cache.digests import DigestMemory
from pipeline.media.clock import read_clock
from pipeline.media.containers import DEFAULT, Limits, MediaError
from pipeline.media.frames import turn_of
from pipeline.media.length import duration, kind_of
from pipeline.media.numbered_frames import load_image, numbered_files
from pipeline.media.opening import best_audio, best_video, open_media

FACTS = "probe 3"
"""Under which name what was found is remembered; to be raised when `probe` finds out more, or other things."""

StreamT = TypeVar("StreamT", AudioStream, VideoStream)


@dataclass(frozen=True)
class AudioTrack:
    """The audio track.

    Attributes:
        sample_rate: in hertz.
        channels: their number.
        codec: FFmpeg's name of it.
    """

    sample_rate: int
    channels: int
    codec: str


@dataclass(frozen=True)
class VideoTrack:
    """The video track.

    Attributes:
        width: in pixels, as stored (before the rotation).
        height: in pixels, as stored.
        rate: mean frames per second; 0 if unknown.
        rotation: degrees clockwise (0, 90, 180, 270) that turn a stored frame for display.
        codec: FFmpeg's name of it.
    """

    width: int
    height: int
    rate: float
    rotation: int
    codec: str


@dataclass(frozen=True)
class MediaInfo:
    """What a media file holds.

    Attributes:
        duration_s: from the earliest audio or video to the end of the last; infinite for a folder of frames, which
            has no clock.
        audio: the audio track, or None.
        video: the video track, or None. Cover art is none.
        frames: numbers of the first and the last image of a folder of frames; None for a file.
        kind: which of the kinds of `pipeline.media.length` it is of, which have versions of their own; mostly empty.
    """

    duration_s: float
    audio: AudioTrack | None
    video: VideoTrack | None
    frames: tuple[int, int] | None = None
    kind: str = ""


def probe(path: Path, limits: Limits = DEFAULT) -> MediaInfo:
    """Reads the headers of a file, and all packets without decoding them: headers are often wrong about the length.

    A folder of numbered images counts as a video without audio.

    Args:
        path: the file or folder.
        limits: of what it may claim.

    Raises:
        MediaError: it is missing, unreadable, no media file, zero seconds long, or claims more than the limits allow.
    """
    if path.is_dir():
        return _probe_folder(path, limits)
    with open_media(path, limits.max_pixels) as container:
        audio_stream = _found(best_audio, container)
        video_stream = _found(lambda file: best_video(file, limits.max_pixels), container)
        if audio_stream is None and video_stream is None:
            raise MediaError("not a media file (no audio and no video that can be decoded)")
        rate, channels = _form(path, audio_stream) if audio_stream is not None else (0, 0)
        if audio_stream is not None:
            limits.check_audio(rate, channels)
        if video_stream is not None:
            limits.check_frame(video_stream.width, video_stream.height)
        clock = read_clock(path)
        seconds = float(duration(container, path, clock))
        if seconds <= 0:
            raise MediaError("zero duration")
        limits.check_length(seconds)
        kind = kind_of(container, path, clock)
        audio = AudioTrack(rate, channels, _codec(audio_stream)) if audio_stream else None
        video = _video_track(container, video_stream) if video_stream else None
        return MediaInfo(seconds, audio, video, kind=kind)


def within(info: MediaInfo, limits: Limits) -> MediaInfo:
    """What a medium is known to hold, if that is within the limits.

    Raises:
        MediaError: it is not.
    """
    if info.frames is None:
        limits.check_length(info.duration_s)
    if info.video is not None:
        limits.check_frame(info.video.width, info.video.height)
    if info.audio is not None:
        limits.check_audio(info.audio.sample_rate, info.audio.channels)
    return info


def remember(memory: DigestMemory, digest: str, info: MediaInfo) -> None:
    """Keeps what `probe` has found under the digest of the bytes, so that their packets are read once."""
    memory.remember_facts(digest, FACTS, facts_of(info))


def facts_of(info: MediaInfo) -> str:
    """What `recalled` reads."""
    audio, video = (vars(track) if track is not None else None for track in (info.audio, info.video))
    return json.dumps({**vars(info), "audio": audio, "video": video})


def recalled(memory: DigestMemory, digest: str) -> MediaInfo | None:
    """What `probe` has found in the bytes of this digest, None if that has not been done."""
    text = memory.recall_facts(digest, FACTS)
    if not text:
        return None
    facts = json.loads(text)
    audio, video, frames = facts["audio"], facts["video"], facts["frames"]
    return MediaInfo(
        facts["duration_s"],
        AudioTrack(**audio) if audio else None,
        VideoTrack(**video) if video else None,
        tuple(frames) if frames else None,
        facts["kind"],
    )


def _probe_folder(path: Path, limits: Limits) -> MediaInfo:
    files = numbered_files(path)
    limits.check_frames(len(files))
    height, width = load_image(next(iter(files.values())), limits.max_pixels).shape[:2]
    limits.check_frame(width, height)
    return MediaInfo(math.inf, None, VideoTrack(width, height, 0.0, 0, "still images"), (min(files), max(files)))


def _found(find: Callable[[InputContainer], StreamT], container: InputContainer) -> StreamT | None:
    try:
        return find(container)
    except MediaError:
        return None


def _form(path: Path, stream: AudioStream) -> tuple[int, int]:
    """Sample rate and channels: of the first frame where the audio begins after what FFmpeg reads to find them out."""
    if stream.rate:
        return stream.rate, stream.channels
    with open_media(path) as container, suppress(av.error.FFmpegError):
        for frame in islice(container.decode(best_audio(container)), 1):
            return frame.sample_rate, frame.layout.nb_channels
    return stream.rate, stream.channels


def _codec(stream: AudioStream | VideoStream) -> str:
    return stream.codec_context.codec.canonical_name


def _video_track(container: InputContainer, stream: VideoStream) -> VideoTrack:
    rate = stream.average_rate or stream.guessed_rate or 0
    stream.codec_context.thread_count = 1
    try:
        first = next(islice(container.decode(stream), 1), None)
    except av.error.FFmpegError:
        first = None
    rotation = turn_of(first).degrees if first is not None else 0
    return VideoTrack(stream.width, stream.height, float(rate), rotation, _codec(stream))
