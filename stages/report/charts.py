"""Bar charts as inline SVG. Colours and fonts come from the page's style sheet."""

from collections.abc import Iterable, Mapping

from markupsafe import Markup

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
