"""A folder with one of each kind of trouble a collection of media can hold, and what should come of it."""

from __future__ import annotations

import os
import wave
from pathlib import Path

import numpy as np
from media_samples import cut_short, numbered_frames, tone, write_media

RATE = 16000


def make_bad_media(folder: Path) -> dict[str, tuple[str | None, str | None]]:
    """Makes the files.

    Returns:
        file name -> (part of the problem's reason or None, stage that reports it or None). A file with a problem of
        `embed` is heard but has no picture; one without a problem is simply processed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sound, picture = tone(2.0, RATE), numbered_frames(50)
    both = {"samples": sound, "sample_rate": RATE, "frames": picture}
    heard = {"samples": sound, "sample_rate": RATE}

    write_media(folder / "fine.mp4", **both)
    (folder / "empty.mp4").touch()
    cut_short(write_media(folder / "truncated.mp4", **both), 0.5)
    cut_short(write_media(folder / "truncated_faststart.mp4", container_options={"movflags": "faststart"}, **both), 0.7)
    cut_short(write_media(folder / "truncated.wav", **heard), 0.5)
    (folder / "text.mp4").write_text("This is no video.\n" * 100)
    write_media(folder / "no_sound_track.mp4", frames=picture)
    write_media(folder / "no_picture.mp4", **heard)
    with wave.open(str(folder / "zero_duration.wav"), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
    write_media(folder / "wrong_extension.mp4", container_format="wav", audio_codec="pcm_s16le", **heard)
    write_media(folder / "odd_codec.mkv", video_codec="ffv1", audio_codec="flac", **both)
    write_media(folder / "silent.mp4", samples=np.zeros((2 * RATE, 1), np.float32), sample_rate=RATE, frames=picture)
    write_media(folder / "one_sample.wav", samples=np.full((1, 1), 0.5, np.float32), sample_rate=RATE)
    write_media(folder / "name with späces and 漢字 😀.mp4", **both)
    (folder / "folder.mp4").mkdir()
    expected: dict[str, tuple[str | None, str | None]] = {
        "fine.mp4": (None, None),
        "empty.mp4": ("empty file", "ingest"),
        "truncated.mp4": ("", "ingest"),
        "truncated_faststart.mp4": ("truncated", "extract_audio"),
        "truncated.wav": ("truncated", "extract_audio"),
        "text.mp4": ("not a media file", "ingest"),
        "no_sound_track.mp4": ("no audio track", "extract_audio"),
        "no_picture.mp4": ("no video track", "embed"),
        "zero_duration.wav": ("zero duration", "ingest"),
        "wrong_extension.mp4": ("no video track", "embed"),
        "odd_codec.mkv": (None, None),
        "silent.mp4": (None, None),
        "one_sample.wav": ("no video track", "embed"),
        "name with späces and 漢字 😀.mp4": (None, None),
    }
    write_media(folder / "unreadable.mp4", **both).chmod(0)
    if os.access(folder / "unreadable.mp4", os.R_OK):  # nothing is unreadable for root
        (folder / "unreadable.mp4").unlink()
    else:
        expected["unreadable.mp4"] = ("no permission", "ingest")
    return expected
