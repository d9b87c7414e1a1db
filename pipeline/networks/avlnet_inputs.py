"""What AVLnet is given of a clip, from cached features: arrays in, arrays out.

The rules are those of the authors' loaders of YouCook2, MSR-VTT and HowTo100M.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

HOP_S = 0.01
"""Seconds from one frame of a spectrogram to the next (160 samples at 16 kHz)."""

RATE_2D, RATE_3D = 1.0, 1.5
"""2D and 3D video features per second."""

_SMALLEST_NORM = 1e-12


@dataclass(frozen=True, eq=False)
class Spectrogram:
    """A spectrogram of one length.

    Attributes:
        frames: float32 (length, 40), zeros (the loudest level there is) behind the audio; networks take it transposed.
        n_frames: frames of the audio before it was padded or cut.
        key: names the audio where several rows share it, so that a network need not embed it for each.
    """

    frames: Floats
    n_frames: int
    key: bytes = b""


def padded_spectrogram(spectrogram: NDArray[Any], length: int, n_frames: int | None = None) -> Spectrogram:
    """Pads or cuts a spectrogram.

    Args:
        spectrogram: (frames, 40) in dB, as it is cached.
        length: frames wanted.
        n_frames: of the whole audio, where `spectrogram` is only its beginning.
    """
    frames = np.zeros((length, spectrogram.shape[1]), np.float32)
    frames[: len(spectrogram)] = spectrogram[:length]
    return Spectrogram(frames, len(spectrogram) if n_frames is None else n_frames)


def pooled(features: NDArray[Any]) -> Floats:
    """Maximum over time of (seconds, dim) features, scaled to length 1; zeros where there are none."""
    if not len(features):
        return np.zeros(features.shape[1], np.float32)
    return unit(features.max(axis=0).astype(np.float32))


def unit(vector: Floats) -> Floats:
    """The vector scaled to length 1."""
    return vector / np.float32(max(float(np.linalg.norm(vector)), _SMALLEST_NORM))


def pooled_features(features_2d: NDArray[Any], features_3d: NDArray[Any]) -> Floats:
    """The video features of a clip: pooled 2D features, then pooled 3D features.

    Args:
        features_2d: (seconds, d2) of the 2D network.
        features_3d: (n, d3) of the 3D network.
    """
    return np.concatenate([pooled(features_2d), pooled(features_3d)])


def padded_words(words: NDArray[Any], max_words: int) -> Floats:
    """The first word vectors of a text, zeros behind them.

    Args:
        words: (n, dim) vectors of the words that have one, in order.
        max_words: words wanted.
    """
    item = np.zeros((max_words, words.shape[1]), np.float32)
    item[: len(words)] = words[:max_words]
    return item


@dataclass(frozen=True)
class Window:
    """A segment of a video.

    Attributes:
        start_s: in whole seconds.
        n_frames: of the spectrogram.
    """

    start_s: int
    n_frames: int

    @property
    def spectrogram_range(self) -> tuple[int, int]:
        """First frame of the spectrogram, and one past the last."""
        start = max(0, (self.start_s * 16_000 - 200) // 160)
        return start, start + self.n_frames

    def feature_range(self, rate: float) -> tuple[int, int]:
        """First video feature, and one past the last; `rate` per second."""
        stop_s = self.start_s + whole_seconds(self.n_frames)
        return int(self.start_s * rate), int(stop_s * rate) + 1


def whole_seconds(n_frames: int) -> int:
    """Seconds that frames of a spectrogram last, the half window before the first included, cut to a whole number."""
    return int((n_frames * 160 + 200) / 16_000)


def random_windows(n_frames: int, window_frames: int, n: int, random: np.random.Generator) -> list[Window]:
    """Windows that begin at random seconds of a video, as AVLnet is trained on HowTo100M.

    Args:
        n_frames: of the video's spectrogram.
        window_frames: of a window.
        n: windows wanted; they may be the same.
        random: generator.
    """
    latest = whole_seconds(n_frames) - (whole_seconds(window_frames) + 1)
    return [Window(int(start), window_frames) for start in random.integers(0, max(1, latest), n)]


class Features(Protocol):
    """Rows over time by id, as `pipeline.runner.features` opens them."""

    @property
    def dim(self) -> int:
        """Of a row at one time."""

    def __contains__(self, id: str, /) -> bool: ...

    def length(self, id: str) -> int:
        """How many times a row has."""

    def part(self, id: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """(times, dim), from time start to stop."""


def clip_spectrogram(audio: Features, clip: str, max_frames: int) -> Spectrogram:
    """The spectrogram of a clip, padded or cut."""
    return padded_spectrogram(audio.part(clip, 0, max_frames), max_frames, audio.length(clip))


def clip_features(video: Sequence[Features], clip: str, window: Window | None = None) -> Floats:
    """The pooled video features of a clip or of a window of it, zeros for features that it lacks.

    Args:
        video: 2D features, then 3D features.
        clip: clip id.
        window: None for the whole clip.
    """
    parts = []
    for rows, rate in zip(video, (RATE_2D, RATE_3D), strict=True):
        if clip in rows:
            parts.append(rows.part(clip, *(window.feature_range(rate) if window else (0, None))))
        else:
            parts.append(np.zeros((0, rows.dim), np.float32))
    return pooled_features(*parts)


def caption_words(words: Features, caption: str, max_words: int) -> Floats:
    """The word vectors of a caption, padded or cut."""
    return padded_words(words.part(caption, 0, max_words), max_words)
