"""The reader that fits what a clip tower asks for."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.media.audio_store import AudioStore
from pipeline.media.containers import DEFAULT
from stages.embed.clips import Clip
from stages.embed.encoder import AudioInput, ClipInput
from stages.embed.frame_reader import FrameReader
from stages.embed.sound_reader import SoundReader

SOUND, PICTURE = "sound", "picture"


def modality_of(clip_input: ClipInput) -> str:
    """Which rows of the spans table a clip tower is given: `sound` or `picture`."""
    return SOUND if isinstance(clip_input, AudioInput) else PICTURE


def clip_reader(
    clip_input: ClipInput, clips: Sequence[Clip], audio: AudioStore, max_pixels: int = DEFAULT.max_pixels
) -> SoundReader | FrameReader:
    """Makes the reader of the wanted clips.

    Args:
        clip_input: what the tower is given.
        clips: the clips, in the order of their rows.
        audio: where extracted sound tracks are, and which kinds media are of.
        max_pixels: of a frame.
    """
    if isinstance(clip_input, AudioInput):
        return SoundReader(clip_input.sample_rate, clips, audio)
    return FrameReader(clip_input, clips, audio.kinds, max_pixels)
