"""Power of frames in mel bands, compiled by numba: 32 frames at a time, one in each lane of the vector registers.

A frame of 400 real numbers is transformed as 200 complex ones, even samples real and odd ones imaginary, by Stockham's
passes of radix 5, 5 and 8, which need no reordering (C. Van Loan, Computational Frameworks for the Fast Fourier
Transform, 1992). Arrays here are flat: for each bin a number per lane, all real parts before all imaginary ones. All is
computed in float64, as librosa does.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stages.embed.models.compiled import compiled

SIZE, HOP = 400, 160
LANES = 32
"""With 64 it is as fast, with 16 slower by a third."""
HALF = SIZE // 2
BINS = HALF + 1
IMAGINARY = HALF * LANES
"""Where imaginary parts begin."""
COLUMNS = LANES + (SIZE - 1) // HOP
"""Hops that the frames of all lanes reach into."""
TOGETHER = 4
"""Bins that are added to a band at a time."""
COS_1, COS_2 = float(np.cos(2 * np.pi / 5)), float(np.cos(4 * np.pi / 5))
SIN_1, SIN_2 = float(np.sin(2 * np.pi / 5)), float(np.sin(4 * np.pi / 5))
EIGHTH = complex(np.exp(-2j * np.pi / 8))
TURNS = np.exp(-2j * np.pi * np.arange(SIZE) / SIZE)
_inlined = njit(inline="always")


class BandPower:
    """Computes the power of frames in bands; other threads run meanwhile.

    Args:
        window: float64 (400,), by which each frame is multiplied.
        weights: float64 (201, bands) of bins in bands; those of a band other than zero are neighbours.
    """

    def __init__(self, window: NDArray[np.float64], weights: NDArray[np.float64]) -> None:
        self._window = window
        self._lowest = (weights > 0).argmax(0)
        """First bin of each band."""
        counts = (weights > 0).sum(0)
        self._weights = np.zeros((len(counts), -(-counts.max() // TOGETHER) * TOGETHER), np.float32)
        for band, (first, n) in enumerate(zip(self._lowest, counts, strict=True)):
            self._weights[band, :n] = weights[first : first + n, band]
        self._groups = -(-counts // TOGETHER)

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 (frames, bands) of samples (n,): a frame for each 400 of them, 160 apart."""
        out = np.empty((1 + (len(samples) - SIZE) // HOP, len(self._lowest)), np.float32)
        _band_power(samples, self._window, TURNS, self._lowest, self._groups, self._weights, out)
        return out


@_inlined
def _at(x, i):  # type: ignore[no-untyped-def]
    """A number of an array of complex ones."""
    return complex(x[i], x[IMAGINARY + i])


@_inlined
def _put(x, i, value):  # type: ignore[no-untyped-def]
    """Replaces it."""
    x[i] = value.real
    x[IMAGINARY + i] = value.imag


@_inlined
def _quarter(value):  # type: ignore[no-untyped-def]
    """A quarter turn clockwise."""
    return complex(value.imag, -value.real)


@_inlined
def _radix_5(x, y, turns, m, s):  # type: ignore[no-untyped-def]
    """A pass from x to y: s transforms of 5 m numbers become 5 s transforms of m."""
    row = s * LANES
    for p in range(m):
        step = SIZE // (5 * m) * p
        turn_1, turn_2, turn_3, turn_4 = turns[step], turns[2 * step], turns[3 * step], turns[4 * step]
        for q in range(row):
            i, o = row * p + q, 5 * row * p + q
            x_0, x_1, x_2 = _at(x, i), _at(x, i + m * row), _at(x, i + 2 * m * row)
            x_3, x_4 = _at(x, i + 3 * m * row), _at(x, i + 4 * m * row)
            near, far = x_1 + x_4, x_2 + x_3
            even_1, even_2 = x_0 + COS_1 * near + COS_2 * far, x_0 + COS_2 * near + COS_1 * far
            odd_1 = _quarter(SIN_1 * (x_1 - x_4) + SIN_2 * (x_2 - x_3))
            odd_2 = _quarter(SIN_2 * (x_1 - x_4) - SIN_1 * (x_2 - x_3))
            _put(y, o, x_0 + near + far)
            _put(y, o + row, (even_1 + odd_1) * turn_1)
            _put(y, o + 2 * row, (even_2 + odd_2) * turn_2)
            _put(y, o + 3 * row, (even_2 - odd_2) * turn_3)
            _put(y, o + 4 * row, (even_1 - odd_1) * turn_4)


@_inlined
def _radix_8(x, y, s):  # type: ignore[no-untyped-def]
    """The last pass, s transforms of 8 numbers, which turns nothing."""
    row = s * LANES
    for q in range(row):
        near, far = _at(x, q), _at(x, q + 4 * row)
        both, odd = _at(x, q + 2 * row) + _at(x, q + 6 * row), _quarter(_at(x, q + 2 * row) - _at(x, q + 6 * row))
        even_0, even_2 = near + far + both, near + far - both
        even_1, even_3 = near - far + odd, near - far - odd
        near, far = _at(x, q + row), _at(x, q + 5 * row)
        both, odd = _at(x, q + 3 * row) + _at(x, q + 7 * row), _quarter(_at(x, q + 3 * row) - _at(x, q + 7 * row))
        odd_0, odd_2 = near + far + both, _quarter(near + far - both)
        odd_1, odd_3 = EIGHTH * (near - far + odd), _quarter(EIGHTH * (near - far - odd))
        _put(y, q, even_0 + odd_0)
        _put(y, q + row, even_1 + odd_1)
        _put(y, q + 2 * row, even_2 + odd_2)
        _put(y, q + 3 * row, even_3 + odd_3)
        _put(y, q + 4 * row, even_0 - odd_0)
        _put(y, q + 5 * row, even_1 - odd_1)
        _put(y, q + 6 * row, even_2 - odd_2)
        _put(y, q + 7 * row, even_3 - odd_3)


@_inlined
def _power(x, turns, power):  # type: ignore[no-untyped-def]
    """From the transform of even + i odd samples to the squares of that of all."""
    for k in range(BINS):
        turn = turns[k]
        i, mirror = k % HALF * LANES, (HALF - k) % HALF * LANES
        for q in range(LANES):
            one, other = _at(x, i + q), _at(x, mirror + q).conjugate()
            both = (one + other + _quarter((one - other) * turn)) * 0.5
            power[k * LANES + q] = both.real * both.real + both.imag * both.imag


@_inlined
def _windowed(samples, window, hops, x):  # type: ignore[no-untyped-def]
    """The first frames of the samples, a lane each; lanes beyond the last frame get what is there."""
    for column in range(COLUMNS):
        hop = samples[column * HOP : (column + 1) * HOP]
        for i in range(len(hop)):
            hops[i * COLUMNS + column] = hop[i]
    for i in range(HALF):
        even, odd = window[2 * i], window[2 * i + 1]
        source, target = 2 * i % HOP * COLUMNS + 2 * i // HOP, i * LANES
        pair, real = hops[source : source + COLUMNS + LANES], x[target : target + LANES]
        imaginary = x[IMAGINARY + target : IMAGINARY + target + LANES]
        for q in range(LANES):
            real[q] = pair[q] * even
            imaginary[q] = pair[COLUMNS + q] * odd


@compiled
def _band_power(samples, window, turns, lowest, groups, weights, out):  # type: ignore[no-untyped-def]
    hops = np.zeros(HOP * COLUMNS, np.float32)
    x, y, total = np.empty(SIZE * LANES), np.empty(SIZE * LANES), np.empty(LANES, np.float32)
    power = np.zeros((BINS + TOGETHER) * LANES, np.float32)
    for first in range(0, len(out), LANES):
        _windowed(samples[first * HOP :], window, hops, x)
        _radix_5(x, y, turns, 40, 1)
        _radix_5(y, x, turns, 8, 5)
        _radix_8(x, y, 25)
        _power(y, turns, power)
        for band in range(len(lowest)):
            total[:] = 0.0
            for i in range(0, groups[band] * TOGETHER, TOGETHER):
                one, two = weights[band, i], weights[band, i + 1]
                three, four = weights[band, i + 2], weights[band, i + 3]
                bin = (lowest[band] + i) * LANES
                rows = power[bin : bin + TOGETHER * LANES]
                for q in range(LANES):
                    low = one * rows[q] + two * rows[LANES + q]
                    total[q] += low + (three * rows[2 * LANES + q] + four * rows[3 * LANES + q])
            for q in range(min(LANES, len(out) - first)):
                out[first + q, band] = total[q]
