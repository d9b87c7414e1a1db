"""Items of clips and captions from cached features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stages.avlnet import items
from stages.avlnet.feature_rows import FeatureRows
from stages.avlnet.items import FLAT_RATE, MOVING_RATE, Floats, Sound, Window


def clip_sound(sound: FeatureRows, clip: str, max_frames: int) -> Sound:
    """The spectrogram of a clip, padded or cut."""
    return items.padded_sound(sound.part(clip, 0, max_frames), max_frames, sound.length(clip))


def clip_picture(pictures: Sequence[FeatureRows], clip: str, window: Window | None = None) -> Floats:
    """The picture of a clip or of a window of it, zeros for features that it has not.

    Args:
        pictures: 2D features, then 3D features.
        clip: clip id.
        window: None for the whole clip.
    """
    parts = []
    for rows, rate in zip(pictures, (FLAT_RATE, MOVING_RATE), strict=True):
        if clip in rows:
            parts.append(rows.part(clip, *(window.picture(rate) if window else (0, None))))
        else:
            parts.append(np.zeros((0, rows.dim), np.float32))
    return items.picture_item(*parts)


def caption_words(words: FeatureRows, caption: str, max_words: int) -> Floats:
    """The word vectors of a caption, padded or cut."""
    return items.text_item(words.part(caption, 0, max_words), max_words)
