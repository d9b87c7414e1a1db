"""Numbers of half precision made float32, three times as fast as numpy does it."""

from __future__ import annotations

from typing import Any

import numpy as np

from cache.compiled import compiled

SCALE = np.float32(2.0**112)
"""Between the biases of the exponents, 127 and 15."""
INFINITE = 0x7C00
"""From these bits on, without the sign, a number is infinite or nan."""


@compiled
def _moved(halves: Any, bits: Any) -> Any:
    largest = np.uint16(0)
    for i in range(len(halves)):
        half = np.uint32(halves[i])
        bits[i] = ((half & np.uint32(0x8000)) << np.uint32(16)) | ((half & np.uint32(0x7FFF)) << np.uint32(13))
        largest = max(largest, np.uint16(halves[i] & np.uint16(0x7FFF)))
    return largest


@compiled
def _scaled(numbers: Any, scale: Any) -> None:
    for i in range(len(numbers)):
        numbers[i] *= scale


@compiled
def to_float32(chunks: Any, nbytes: int, out: Any) -> None:
    """Converts chunks of half precision numbers; nan becomes infinite.

    Exponent and mantissa are moved to where float32 has them and scaled, which is exact, also of subnormal numbers.

    Args:
        chunks: uint8 (n, stride), little-endian numbers and then something else.
        nbytes: of the numbers in each.
        out: float32 (n, nbytes / 2).
    """
    for chunk in range(len(chunks)):
        halves, numbers = chunks[chunk, :nbytes].view(np.uint16), out[chunk]
        largest = _moved(halves, numbers.view(np.uint32))
        _scaled(numbers, SCALE)
        if largest >= INFINITE:
            for i in range(len(halves)):
                if halves[i] & np.uint16(0x7FFF) >= INFINITE:
                    numbers[i] *= np.float32(np.inf)
