"""All numbers of half precision, converted."""

import numpy as np

from cache.formats.halves import to_float32


def test_every_number_is_exact():
    chunks = np.zeros((3, 2 * 65536 + 4), np.uint8)
    chunks[:, : 2 * 65536] = np.arange(65536, dtype="<u2").view(np.uint8)
    out = np.empty((3, 65536), np.float32)
    to_float32(chunks, 2 * 65536, out)
    expected = np.arange(65536, dtype="<u2").view(np.float16).astype(np.float32)
    finite = np.isfinite(expected)
    for row in out:
        assert np.array_equal(row[finite].view(np.uint32), expected[finite].view(np.uint32))
        assert not np.isfinite(row[~finite]).any()
