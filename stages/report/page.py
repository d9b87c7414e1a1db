"""The report: one HTML page that needs nothing but itself."""

import base64
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from stages.report import charts, heatmap, tables
from stages.report.agreement import LEVELS
from stages.report.audio_snippet import MIME_TYPE
from stages.report.descriptions import CorpusDescriptions
from stages.report.tables import Scores

MAX_PROBLEMS = 500


class Hit(NamedTuple):
    """One clip in the answer to a query. A plain tuple of the four does as well."""

    label: str
    score: float
    audio: bytes | None
    is_match: bool


@dataclass(frozen=True)
class QueryExample:
    """A caption, and the clips that were found for it.

    Attributes:
        caption: the query.
        rank: of its best right answer, from 1.
        expected_label: name of the right clip.
        expected_audio: its sound from `audio_snippet.encode_snippet`, if it has any.
        top: the first few clips found, best first.
    """

    caption: str
    rank: float
    expected_label: str
    expected_audio: bytes | None = field(repr=False)
    top: Sequence[Hit | tuple[str, float, bytes | None, bool]] = field(repr=False)


@dataclass(frozen=True, eq=False)
class ExperimentResult:
    """What the page shows of one experiment.

    Attributes:
        name, corpus, encoders, caption_source, protocol: as configured.
        metrics: the numbers. Directions are `text_to_clip` and `clip_to_text`; metrics those of
            `tables.METRICS`, or others, which stand after them; `n_queries` and `n_items` are the
            sizes. The subset `all`, or else the first, is the one the overview shows.
        chance: numbers of random rankings, in the shape of `metrics`; what is missing is left out.
        note: a remark of the one who configured it.
        paper: published numbers, in the same shape and units.
        heatmap: similarities (captions x clips), ordered so that matches lie on the diagonal.
        caption_labels, clip_labels: names of its rows and columns, shown under the pointer.
        queries: well and badly answered ones. Sorted by rank, the first half is shown as the
            best and the second as the worst.
    """

    name: str
    corpus: str
    encoders: Sequence[str]
    caption_source: str
    protocol: str
    metrics: Scores
    chance: Scores = field(default_factory=dict)
    note: str = ""
    paper: Scores = field(default_factory=dict)
    heatmap: NDArray[np.float32] | None = field(default=None, repr=False)
    caption_labels: Sequence[str] = ()
    clip_labels: Sequence[str] = ()
    queries: Sequence[QueryExample] = ()


def render(
    experiments: Sequence[ExperimentResult],
    problems: Sequence[Mapping[str, Any]],
    title: str,
    generated_from: Mapping[str, Any],
    described: Sequence[CorpusDescriptions] = (),
) -> str:
    """The whole page as HTML.

    Args:
        experiments: in the order to show them.
        problems: rows of the problems tables: stage, id, path, reason.
        title: heading of the page.
        generated_from: what the numbers come from (commit, versions, time, ...), shown at the end.
        described: what language models made of captions, by corpus.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        sound=_Sounds().element,
        rank=_rank,
        arrow=tables.arrow,
        number=tables.number,
        sizes=list(tables.SIZES.values()),
    )
    used = {column for result in experiments for column in tables.columns(result.metrics)}
    return environment.get_template("report.html.j2").render(
        title=title,
        experiments=[_experiment(number, result) for number, result in enumerate(experiments, 1)],
        directions=tables.DIRECTIONS,
        meanings={name: m.meaning for name, m in tables.METRICS.items() if name in used},
        heat_scale=heatmap.scale_css(),
        problems=problems[:MAX_PROBLEMS],
        n_problems=len(problems),
        reasons=Counter((p.get("stage"), p.get("reason")) for p in problems).most_common(),
        generated_from=generated_from,
        described=described,
        levels=LEVELS,
    )


def _experiment(number: int, result: ExperimentResult) -> dict[str, Any]:
    result = replace(result, metrics=tables.arranged(result.metrics))
    columns = tables.columns(result.metrics)
    directions = dict.fromkeys(name for scores in result.metrics.values() for name in scores)
    beside = result.metrics, result.chance, result.paper
    ranked = sorted(result.queries, key=lambda query: query.rank)
    half = (len(ranked) + 1) // 2
    return {
        "anchor": f"experiment-{number}",
        "result": result,
        "columns": columns,
        "headline": next(iter(result.metrics), None),
        "groups": [
            (tables.direction_name(direction), tables.lines(direction, columns, *beside)) for direction in directions
        ],
        "charts": _charts(result),
        "picture": _picture(result),
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


def _picture(result: ExperimentResult) -> dict[str, Any] | None:
    if result.heatmap is None or not result.heatmap.size:
        return None
    drawn = heatmap.draw(result.heatmap)
    names, labels = (result.caption_labels, result.clip_labels), None
    if drawn.picks and tuple(map(len, names)) == drawn.of_shape:
        labels = [[side[i] for i in picks] for side, picks in zip(names, drawn.picks, strict=True)]
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
