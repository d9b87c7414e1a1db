"""Clips of one video in as few forward passes as memory allows, when many of them overlap."""

from __future__ import annotations

import heapq
from collections.abc import Sequence


def passes(stretches: Sequence[tuple[float, float]], most_open: int) -> list[list[int]]:
    """Divides stretches so that in each part no more than so many of them overlap at any moment.

    Args:
        stretches: (start, stop) of each.
        most_open: of one part.

    Returns:
        Positions of the stretches of each part, by their start; one part unless too many overlap.
    """
    parts: list[list[int]] = []
    still_open: list[list[float]] = []  # stops of the stretches that are open in each part, as heaps
    for position in sorted(range(len(stretches)), key=lambda i: stretches[i]):
        start, stop = stretches[position]
        for part, stops in zip(parts, still_open, strict=True):
            while stops and stops[0] <= start:
                heapq.heappop(stops)
            if len(stops) < most_open:
                part.append(position)
                heapq.heappush(stops, stop)
                break
        else:
            parts.append([position])
            still_open.append([stop])
    return parts
