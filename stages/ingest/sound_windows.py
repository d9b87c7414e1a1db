"""The stretches of sound that the original code of A Sound Approach hears for a clip, with its rules for margins."""

from __future__ import annotations


def extended(start_s: float, stop_s: float, left_s: float, right_s: float) -> tuple[float, float]:
    """A clip of a whole file and its margins: the right one always, the left one whole or not at all.

    Args:
        start_s: start of the clip.
        stop_s: its end.
        left_s: seconds before it; left away if the file has fewer.
        right_s: seconds after it; the caller cuts them at the end of the file.

    Returns:
        (start, duration) in seconds.
    """
    duration = stop_s - start_s + right_s
    return (start_s - left_s, duration + left_s) if start_s - left_s >= 0 else (start_s, duration)


def chunked(
    start_s: float, stop_s: float, chunk_s: float, left_s: float = 0.0, right_s: float = 0.0
) -> list[tuple[int, float, float | None]]:
    """A clip of a video that has been cut into pieces of equal length, and its margins.

    The margins are those of the original code, which compares times in a piece with the end and the start of the piece
    in the video: the right one is always added but in the first piece, where it must fit; the left one is added in the
    first piece only, and to the second piece as well if the clip goes on there.

    Args:
        start_s: start of the clip, in the whole video.
        stop_s: its end.
        chunk_s: length of a piece.
        left_s: seconds before the clip.
        right_s: seconds after it.

    Returns:
        (number of the piece, start in it, duration) in playing order; None lasts to the end of the piece.
    """
    first, last = int(start_s // chunk_s), int(stop_s // chunk_s)
    start = start_s - first * chunk_s
    duration = stop_s - (start_s if first == last else last * chunk_s)
    if (start if first == last else 0.0) + duration + right_s <= (last + 1) * chunk_s:
        duration += right_s
    if start - left_s >= first * chunk_s:
        start -= left_s
        duration += left_s
    if first == last:
        return [(first, start, duration)]
    between = [(number, 0.0, None) for number in range(first + 1, last)]
    return [(first, start, None), *between, *([(last, 0.0, duration)] if duration > 0 else [])]
