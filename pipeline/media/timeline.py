"""Where decoded sound belongs on the file's clock."""

from __future__ import annotations

from fractions import Fraction

from pipeline.media.times import sample_position

TOLERANCE_S = 0.1
"""Timestamps this close to the samples before them are contiguous: containers round and clocks drift."""

LOST_TOLERANCE_S = 0.001
"""The same after a packet that could not be decoded: the hole it left is kept."""

RESET_S = 10.0
"""A jump back further than this is no overlap but a clock that starts again; what follows is contiguous."""


class Timeline:
    """Places blocks of samples by their timestamps.

    Args:
        sample_rate: of the sound.
        limit: the last believable position, in samples. A timestamp beyond it is ignored.

    Attributes:
        position: samples placed so far.
        jumps: timestamps ignored because the clock of the file started again or went wild.
        holes: samples of silence in the middle.
    """

    def __init__(self, sample_rate: int, limit: int) -> None:
        self.position = 0
        self.jumps = 0
        self.holes = 0
        self._sample_rate = sample_rate
        self._limit = limit
        self._shift = 0

    def place(self, time_s: Fraction | None, n_samples: int, lost: bool = False) -> tuple[int, int]:
        """Says what to do with a block before appending it.

        Args:
            time_s: its timestamp; None appends it.
            n_samples: its length.
            lost: something before it could not be decoded.

        Returns:
            (samples of silence to write first, samples to drop from its start).
        """
        silence, drop = self._decide(time_s, n_samples, lost)
        self.holes += silence if self.position else 0
        self.position += silence + n_samples - drop
        return silence, drop

    def _decide(self, time_s: Fraction | None, n_samples: int, lost: bool) -> tuple[int, int]:
        if time_s is None:
            return 0, 0
        drift = sample_position(time_s, self._sample_rate) + self._shift - self.position
        tolerance_s = 0.0 if self.position == 0 else LOST_TOLERANCE_S if lost else TOLERANCE_S
        if abs(drift) <= tolerance_s * self._sample_rate:
            return 0, 0
        if self.position + drift > self._limit or (self.position > 0 and drift < -RESET_S * self._sample_rate):
            self._shift -= drift
            self.jumps += 1
            return 0, 0
        return max(drift, 0), min(max(-drift, 0), n_samples)
