"""Where decoded sound belongs on the file's clock."""

from __future__ import annotations

import math
from fractions import Fraction

TOLERANCE_S = 0.1
"""Timestamps this close to the samples before them are contiguous: containers round and clocks drift."""

LOST_TOLERANCE_S = 0.001
"""The same where something before could not be decoded: the hole it left is kept."""

LOOSE_TOLERANCE_S = 0.5
"""The same within a part of another rate, between whose packets FFmpeg counts on by the rate of the first part."""

MOST_HOLES_S = 3600.0
"""Holes may take up as much time as the sound before them and this. A jump ahead beyond it is a clock gone wild."""

RESET_S = 10.0
"""A jump back further than this is no overlap but a clock that starts again; what follows is contiguous."""


class SampleClock:
    """Timestamps as sample positions: exact, halves up.

    Args:
        time_base: seconds per tick.
        zero: time zero of the file, in seconds.
        sample_rate: of the sound.
    """

    def __init__(self, time_base: Fraction, zero: Fraction, sample_rate: int) -> None:
        slope = time_base * sample_rate
        offset = Fraction(1, 2) - zero * sample_rate
        self._divisor = math.lcm(slope.denominator, offset.denominator)
        self._slope = int(slope * self._divisor)
        self._offset = int(offset * self._divisor)

    def position(self, timestamp: int) -> int:
        """The sample at a timestamp."""
        return (timestamp * self._slope + self._offset) // self._divisor


class Timeline:
    """Places blocks of samples by their timestamps.

    Args:
        sample_rate: of the sound.
        limit: the last believable position, in samples. A timestamp beyond it is ignored.
        counted: timestamps only count what was read, as in files without a header. They matter after a loss alone.

    Attributes:
        position: samples placed so far.
        holes: samples of silence that had to be put in the middle.
        jumps: timestamps ignored because the clock of the file started again or went wild.
    """

    def __init__(self, sample_rate: int, limit: int, counted: bool = False) -> None:
        self.position = 0
        self.holes = 0
        self.jumps = 0
        self._sample_rate = sample_rate
        self._limit = limit
        self._counted = counted
        self._shift = 0
        self._stamped = False
        self._lost = False

    def place(
        self, start: int | None, n_samples: int, lost: bool = False, follows: bool = False, loose: bool = False
    ) -> tuple[int, int]:
        """Says what to do with a block before appending it.

        Args:
            start: the position its timestamp says; None if it has none, which amid blocks that have one is a sign
                of damage.
            n_samples: its length.
            lost: something before it could not be decoded.
            follows: it begins another recording, and follows the one before whatever its timestamp.
            loose: its timestamp is right within `LOOSE_TOLERANCE_S` alone.

        Returns:
            (samples of silence to write first, samples to drop from its start).
        """
        self._lost = self._lost or lost
        if start is None:
            silence, drop = 0, 0
            self._lost = self._lost or self._stamped
        elif follows and self.position:
            self._shift = self.position - start
            silence, drop, self._lost = 0, 0, False
        else:
            silence, drop = self._fit(start + self._shift - self.position, n_samples, loose)
            self._stamped = True
            self._lost = 0 < n_samples == drop
        if self.position:
            self.holes += silence
        self.position += silence + n_samples - drop
        return silence, drop

    def _fit(self, drift: int, n_samples: int, loose: bool) -> tuple[int, int]:
        tolerance_s = 0.0 if self.position == 0 else LOST_TOLERANCE_S if self._lost else TOLERANCE_S
        tolerance_s = LOOSE_TOLERANCE_S if loose else tolerance_s
        if abs(drift) <= tolerance_s * self._sample_rate:
            return 0, 0
        if self._counted and not self._lost:
            self._shift -= drift
            return 0, 0
        starts_again = self.position > 0 and drift < -RESET_S * self._sample_rate
        most_holes = MOST_HOLES_S * self._sample_rate + self.position - self.holes
        gone_wild = self.holes + drift > most_holes or self.position + drift > self._limit
        if starts_again or gone_wild:
            self._shift -= drift
            self.jumps += 1
            return 0, 0
        return max(drift, 0), min(max(-drift, 0), n_samples)
