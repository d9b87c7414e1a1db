"""Bar charts and similarity matrices inside the page; colours and fonts come from its style sheet."""

import base64
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

WIDTH = 360
LEFT, RIGHT = 42, 312
"""Where the scale begins and ends; labels stand left of it, values right of the bars."""
HEADING, ROW, BAR, GAP, AXIS = 26, 23, 14, 8, 20
RECALLS = ("R@1", "R@5", "R@10")

Values = Mapping[str, Mapping[str, float]]
"""By direction, then by metric."""


def scale_top(drawn: Iterable[Values]) -> int:
    """A round end of the scale, in percent, that no recall exceeds."""
    numbers = [row for values in drawn for row in values.values()]
    recalls = [row[metric] for row in numbers for metric in RECALLS if metric in row]
    highest = max((recall for recall in recalls if recall == recall), default=100)
    return next((top for top in (5, 10, 20, 40, 60, 80) if highest <= top), 100)


def recall_bars(values: Values, chance: Values, names: Mapping[str, str], top: int) -> Markup:
    """Bars of R@1, R@5 and R@10 for each direction, with a mark at the chance level.

    Args:
        values: percentages; directions without any recall are left out, and without any
            direction the chart is empty.
        chance: likewise, for the marks.
        names: what each direction is called.
        top: end of the scale, from `scale_top`.
    """
    parts: list[Markup] = []
    spoken: list[str] = []
    y = 0
    for direction, numbers in values.items():
        shown = [metric for metric in RECALLS if metric in numbers]
        if not shown:
            continue
        name = names.get(direction, direction)
        parts.append(Markup('<text class="heading" x="0" y="{}">{}</text>').format(y + HEADING - 8, name))
        y += HEADING
        for metric in shown:
            expected = chance.get(direction, {}).get(metric)
            parts.append(_row(metric, numbers[metric], expected, top, y))
            spoken.append(f"{name} {metric} {_spoken(numbers[metric], expected)}")
            y += ROW
        y += GAP
    if not spoken:
        return Markup()
    return Markup('<svg class="bars" viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}</svg>').format(
        WIDTH, y + AXIS, "; ".join(spoken), _grid(top, y), Markup().join(parts)
    )


def _row(metric: str, value: float, chance: float | None, top: int, y: float) -> Markup:
    middle, end = y + ROW / 2, _x(value, top)
    row = Markup('<text class="label" x="{}" y="{}">{}</text>').format(LEFT - 6, middle + 4, metric)
    row += Markup('<rect class="bar {}" x="{}" y="{}" width="{:.1f}" height="{}" rx="2"/>').format(
        metric.replace("@", ""), LEFT, middle - BAR / 2, end - LEFT, BAR
    )
    if chance is not None and chance == chance:
        mark = _x(chance, top)
        end = max(end, mark)
        line = Markup('<path class="{}" d="M{:.1f} {}v{}"/>')
        for style in ("halo", "chance"):
            row += line.format(style, mark, middle - BAR / 2 - 3, BAR + 6)
    row += Markup('<text class="value" x="{:.1f}" y="{}">{}</text>').format(
        end + 6, middle + 4, "–" if value != value else f"{value:.1f}"
    )
    return Markup("<g><title>{} {}</title>{}</g>").format(metric, _spoken(value, chance), row)


def _grid(top: int, height: float) -> Markup:
    grid = Markup()
    for step in range(5):
        value = top * step / 4
        x = f"{_x(value, top):.1f}"
        grid += Markup('<path class="grid" d="M{} {}V{}"/>').format(x, HEADING, height)
        grid += Markup('<text class="tick" x="{}" y="{}">{:g}{}</text>').format(
            x, height + 14, value, " %" if step == 4 else ""
        )
    return grid


def _spoken(value: float, chance: float | None) -> str:
    return f"{value:.1f} %" + (f", chance {chance:.1f} %" if chance is not None else "")


def _x(value: float, top: int) -> float:
    return LEFT + (RIGHT - LEFT) * (min(value, top) / top if value == value else 0)


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
