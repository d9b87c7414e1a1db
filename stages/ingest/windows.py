"""How media are cut into windows or shots, and which of these a caption with times is relevant to."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise

from pipeline.config.corpus import CorpusConfig
from pipeline.media.times import fixed_windows

Window = tuple[float, float]
"""Start and end in seconds, the end exclusive."""

SHARE = 0.5
"""Of the shorter of caption and window: a window that shares this much time with a caption is relevant to it."""

SLACK_S = 1e-6
"""Times are floats: a share this little short of half is half."""


def cut(duration_s: float, config: CorpusConfig, boundaries_s: Sequence[float] = ()) -> list[Window]:
    """The windows of a medium, in order of time, from its start to its end without gap.

    Without boundaries these are windows of `window_s`, one each `hop_s`, as `pipeline.media.times.fixed_windows` lays
    them. Boundaries of shots are taken from the first to the last; one closer than `min_window_s` to the one before
    it, or to the start or end of the medium, is none, so that a short shot joins the one before it (the first one that
    after it). A shot longer than `window_s` is cut into windows.

    Args:
        duration_s: of the medium.
        config: lengths of windows.
        boundaries_s: where shots begin, in seconds, ascending.

    Raises:
        MediaError: there would be more windows than `limits` allow, or the medium has no length.
    """
    edges = [0.0]
    for time_s in boundaries_s:
        shortest_s = min(time_s - edges[-1], duration_s - time_s)
        if shortest_s > 0 and shortest_s >= config.min_window_s:
            edges.append(time_s)
    windows: list[Window] = []
    if config.window_s is not None and duration_s > config.window_s:
        config.limits.check_windows(duration_s, config.hop_s or config.window_s)
    for start_s, stop_s in pairwise([*edges, duration_s]):
        if config.window_s is None or stop_s - start_s <= config.window_s:
            windows.append((start_s, stop_s))
            continue
        parts = fixed_windows(stop_s - start_s, config.window_s, config.min_window_s, config.hop_s)
        windows += [(start_s + first_s, start_s + last_s) for first_s, last_s in parts[:-1]]
        windows.append((start_s + parts[-1][0], stop_s))
    return windows


def relevant(windows: Sequence[Window], start_s: float, stop_s: float) -> list[int]:
    """Which windows a caption of [start_s, stop_s) is relevant to, by number.

    A window is relevant if it shares with the caption at least half of the shorter of the two: half of a short
    caption lies in the window, or half of the window in a long caption. Of windows that cover their medium without
    gap, each caption has at least one.

    Args:
        windows: of one medium, starts and ends ascending.
        start_s: of the caption, within the medium.
        stop_s: its end, exclusive; at or before the start, the caption is of that moment.

    Example:
        >>> relevant([(0, 4), (2, 6), (4, 8)], 3, 5)
        [0, 1, 2]
        >>> relevant([(0, 4), (2, 6), (4, 8)], 3.5, 7)
        [1, 2]
    """
    if stop_s <= start_s:
        return [number for number, (first_s, last_s) in enumerate(windows) if first_s <= start_s < last_s]
    found = []
    for number in range(
        bisect_right(windows, start_s, key=lambda window: window[1]),
        bisect_left(windows, stop_s, key=lambda window: window[0]),
    ):
        first_s, last_s = windows[number]
        shared_s = min(stop_s, last_s) - max(start_s, first_s)
        if shared_s >= SHARE * min(stop_s - start_s, last_s - first_s) - SLACK_S:
            found.append(number)
    return found
