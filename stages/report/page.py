"""The report: one HTML page that needs nothing but itself."""

import base64
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.console.text import visible
from stages.report import charts, tables
from stages.report import charts as heatmap
from stages.report.audio import MIME_TYPE
from stages.report.descriptions import LEVELS, CorpusDescriptions
from stages.report.overview import Overview, overviews
from stages.report.results import ExperimentResult
from stages.report.tables import MAX_CLASSES, class_table

MAX_PROBLEMS = 500
MANY = 12
"""Of more experiments each is folded, its picture is smaller, and of its classes only the extremes are shown."""
SMALL_PICTURE = 160
KINDS = {"interval": "95 %", "chance": "chance", "paper": "paper", "difference": "ours − paper"}


def render(
    experiments: Sequence[ExperimentResult],
    problems: Sequence[Mapping[str, Any]],
    title: str,
    generated_from: Mapping[str, Any],
    n_silent: int = 0,
    described: Sequence[CorpusDescriptions] = (),
) -> str:
    """The whole page as HTML.

    Args:
        experiments: in the order to show them.
        problems: rows of the problems tables: stage, id, path, reason.
        title: heading of the page.
        generated_from: what the numbers come from (commit, versions, time, ...), shown at the end.
        n_silent: clips whose sound had no room on the page.
        described: what language models made of captions, by corpus.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value, breaks=True) if type(value) is str else value,  # Markup is ours
    )
    environment.globals.update(
        sound=_Sounds().element,
        rank=_rank,
        arrow=tables.arrow,
        number=tables.number,
        span=tables.span,
        difference=tables.difference,
        direction_name=tables.direction_name,
        sizes=list(tables.SIZES.values()),
        kinds=KINDS,
    )
    used = {column for result in experiments for column in tables.columns(result.metrics)}
    asked = {direction for result in experiments for scores in result.metrics.values() for direction in scores}
    many = len(experiments) > MANY
    anchors = {id(result): f"experiment-{number}" for number, result in enumerate(experiments, 1)}
    return environment.get_template("report.html.j2").render(
        title=title,
        experiments=[_experiment(anchors[id(result)], result, many) for result in experiments],
        many=many,
        overviews=_by_corpus(experiments) if len(experiments) > 1 else {},
        anchor=lambda result: anchors[id(result)],
        directions={
            tables.direction_name(name): tables.DIRECTION_MEANINGS[name]
            for name in tables.in_order(asked)
            if name in tables.DIRECTION_MEANINGS
        },
        has_paper=any(result.paper for result in experiments),
        n_silent=n_silent,
        meanings={name: m.meaning for name, m in tables.METRICS.items() if name in used},
        heat_scale=heatmap.scale_css(),
        problems=problems[:MAX_PROBLEMS],
        n_problems=len(problems),
        reasons=Counter((p.get("stage"), p.get("reason")) for p in problems).most_common(),
        generated_from=generated_from,
        described=described,
        levels=LEVELS,
    )


def _by_corpus(experiments: Sequence[ExperimentResult]) -> dict[str, list[Overview]]:
    by_corpus: dict[str, list[Overview]] = {}
    for table in overviews(experiments):
        by_corpus.setdefault(table.corpus, []).append(table)
    return by_corpus


def _experiment(anchor: str, result: ExperimentResult, many: bool) -> dict[str, Any]:
    result = replace(result, metrics=tables.arranged(result.metrics))
    columns = tables.columns(result.metrics)
    directions = dict.fromkeys(name for scores in result.metrics.values() for name in scores)
    beside = result.metrics, result.chance, result.paper, result.intervals
    ranked = sorted(result.queries, key=lambda query: query.rank)
    half = (len(ranked) + 1) // 2
    return {
        "anchor": anchor,
        "result": result,
        "columns": columns,
        "groups": [
            (tables.direction_name(direction), tables.lines(direction, columns, *beside)) for direction in directions
        ],
        "charts": _charts(result),
        "picture": _picture(result, SMALL_PICTURE if many else heatmap.MAX_SIDE),
        "classes": class_table(result.classes, 0 if many else MAX_CLASSES),
        "queries": [("Best answered", ranked[:half]), ("Worst answered", ranked[half:][::-1])],
    }


def _charts(result: ExperimentResult) -> list[tuple[str, Markup]]:
    both = (*result.metrics.values(), *result.chance.values())
    top = charts.scale_top(both)
    drawn = [
        (subset, charts.recall_bars(scores, result.chance.get(subset, {}), tables.DIRECTIONS, top))
        for subset, scores in result.metrics.items()
    ]
    return [(subset, chart) for subset, chart in drawn if chart]


def _picture(result: ExperimentResult, side: int) -> dict[str, Any] | None:
    if result.heatmap is None or not result.heatmap.size:
        return None
    drawn = heatmap.draw(result.heatmap, side)
    names, labels = (result.caption_labels, result.clip_labels), None
    if drawn.picks and tuple(map(len, names)) == drawn.of_shape:
        labels = [[visible(side[i]) for i in picks] for side, picks in zip(names, drawn.picks, strict=True)]
    return {"drawn": drawn, "labels": labels}


class _Sounds:
    """Audio elements. A sound that several queries found travels in the page once."""

    def __init__(self) -> None:
        self._ids: dict[bytes, str] = {}

    def element(self, audio: bytes | None, label: str) -> Markup:
        if not audio:
            return Markup("")
        if audio in self._ids:
            source = Markup('data-same-as="{}"').format(self._ids[audio])
        else:
            self._ids[audio] = name = f"sound-{len(self._ids) + 1}"
            data = base64.b64encode(audio).decode("ascii")
            source = Markup('id="{}" src="data:{};base64,{}"').format(name, MIME_TYPE, data)
        return Markup('<audio controls preload="none" aria-label="{}" {}></audio>').format(label, source)


def _rank(value: float) -> str:
    return f"{value:,.1f}".removesuffix(".0") if math.isfinite(value) else "–"
