"""A similarity matrix as a small picture inside the page."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAX_SIDE = 400
COLOURS = ("#1d1147", "#51127c", "#832681", "#b73779", "#e75263", "#fc8961", "#fec488", "#fcfdbf")
"""Dark to light with evenly rising lightness, so it also reads in grey and for the colour-blind."""


@dataclass(frozen=True)
class Picture:
    """A drawn matrix.

    Attributes:
        data_uri: PNG, one pixel a cell.
        shape: rows and columns drawn.
        of_shape: rows and columns of the whole matrix.
        picks: numbers of the rows and columns drawn; None where cells are averages.
        low: similarity at the dark end of the scale, and below.
        high: similarity at the light end, and above.
    """

    data_uri: str
    shape: tuple[int, int]
    of_shape: tuple[int, int]
    picks: tuple[NDArray[np.int64], NDArray[np.int64]] | None
    low: float
    high: float


def draw(sims: NDArray[np.float32], max_side: int = MAX_SIDE) -> Picture:
    """Draws similarities (captions x clips); a larger matrix than `max_side` is thinned first.

    The scale leaves out the lowest and the highest half percent. A nan is drawn as the lowest.
    """
    if sims.ndim != 2 or not sims.size:
        raise ValueError(f"a heat map needs a matrix with rows and columns, got {sims.shape}")
    cells, picks = _thin(sims, max_side)
    finite = cells[np.isfinite(cells)]
    low, high = np.percentile(finite, (0.5, 99.5)) if len(finite) else (0.0, 0.0)
    scaled = (np.nan_to_num(cells, nan=low) - low) / (high - low if high > low else 1)
    pixels = np.round(255 * np.clip(scaled, 0, 1)).astype(np.uint8)
    return Picture(_png(pixels), _shape(cells), _shape(sims), picks, float(low), float(high))


def _thin(
    sims: NDArray[np.float32], max_side: int
) -> tuple[NDArray[np.float32], tuple[NDArray[np.int64], NDArray[np.int64]] | None]:
    """At most `max_side` rows and columns of a matrix, and which they are.

    Of a square matrix evenly spaced items are picked, the same for both sides: the diagonal of
    matches stays sharp. Other large matrices are averaged over equal parts.
    """
    n_rows, n_columns = sims.shape
    starts = _starts(n_rows, max_side), _starts(n_columns, max_side)
    if n_rows == n_columns or max(sims.shape) <= max_side:
        return sims[np.ix_(*starts)], starts
    for axis in (0, 1):
        sizes = np.diff(starts[axis], append=sims.shape[axis]).astype(np.float32)
        sums = np.add.reduceat(sims, starts[axis], axis=axis)
        sims = (sums / np.expand_dims(sizes, 1 - axis)).astype(np.float32)
    return sims, None


def scale_css() -> str:
    """The colours as a CSS gradient, for the legend."""
    return f"linear-gradient(to right, {', '.join(COLOURS)})"


def _starts(length: int, parts: int) -> NDArray[np.int64]:
    parts = min(length, parts)
    return np.arange(parts) * length // parts


def _shape(matrix: NDArray[np.float32]) -> tuple[int, int]:
    return matrix.shape[0], matrix.shape[1]


def _png(pixels: NDArray[np.uint8]) -> str:
    anchors = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in COLOURS], float)
    places = np.linspace(0, len(anchors) - 1, 256)
    palette = np.stack([np.interp(places, range(len(anchors)), anchors[:, channel]) for channel in range(3)], 1)
    image = Image.frombytes("P", (pixels.shape[1], pixels.shape[0]), pixels.tobytes())
    image.putpalette(palette.round().astype(np.uint8).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
