"""Seconds and samples: exact positions, spans inside a file, and the cutting of long media into windows."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

from pipeline.media.containers import MediaError


def sample_position(time_s: float | Fraction, sample_rate: int) -> int:
    """The sample at a time: the exact product, rounded to the nearest whole number, halves up.

    It depends on the time alone, so [a, b) and [b, c) meet without gap or overlap.
    """
    return math.floor(Fraction(time_s) * sample_rate + Fraction(1, 2))


def sample_span(start_s: float, stop_s: float, sample_rate: int, n_samples: int) -> tuple[int, int]:
    """The samples [first, last) of a clip, clamped to the file; at least one.

    Args:
        start_s: start of the clip in seconds.
        stop_s: end of the clip, not before its start.
        sample_rate: of the file.
        n_samples: in the file.

    Raises:
        MediaError: the clip and the file have no time in common, or the clip ends before it starts.
    """
    if stop_s < start_s:
        raise MediaError(f"clip ends before it starts ({start_s:g} to {stop_s:g} s)")
    if stop_s < 0 or start_s < 0 == stop_s or Fraction(start_s) * sample_rate >= n_samples:
        length = n_samples / sample_rate
        raise MediaError(f"clip lies outside the media ({start_s:g} to {stop_s:g} s of {length:g} s)")
    first = min(max(sample_position(start_s, sample_rate), 0), n_samples - 1)
    return first, max(min(sample_position(stop_s, sample_rate), n_samples), first + 1)


def fixed_windows(
    duration_s: float, window_s: float, min_last_s: float, hop_s: float | None = None
) -> list[tuple[float, float]]:
    """Cuts a medium into windows of equal length, which meet without gap, or overlap where the hop is shorter.

    Window n starts at n * `hop_s`. The last one ends where the medium ends: what the last whole window leaves over is
    joined to it if it is shorter than `min_last_s`, and else ends one more window, which is shorter than the others.
    So no window lies within another, and each but the first has at least `min_last_s`, or a hop, of its own. A medium
    shorter than a window is one window, however short.

    Args:
        duration_s: length of the medium.
        window_s: length of a window.
        min_last_s: the shortest remainder that gets a window.
        hop_s: from the start of a window to that of the next; by default the length of a window.

    Raises:
        MediaError: the duration is zero.
        ValueError: the window or the hop is not longer than zero, or the hop is longer than the window.
    """
    if not window_s > 0:
        raise ValueError(f"window_s is {window_s}, it must be above 0")
    hop_s = window_s if hop_s is None else hop_s
    if not 0 < hop_s <= window_s:
        raise ValueError(f"hop_s is {hop_s}, it must be above 0 and at most window_s, {window_s}")
    if not duration_s > 0:
        raise MediaError("zero duration")
    whole = math.floor((duration_s - (window_s - hop_s)) / hop_s + 1e-9)
    remainder = duration_s - (window_s - hop_s) - whole * hop_s
    joined = remainder <= 1e-9 * duration_s or remainder < min_last_s
    count = max(whole if joined else whole + 1, 1)
    if hop_s < window_s:
        ends = [number * hop_s + window_s for number in range(count - 1)] + [duration_s]
        return [(number * hop_s, stop_s) for number, stop_s in enumerate(ends)]
    edges = [number * window_s for number in range(count)] + [duration_s]
    return list(pairwise(edges))
