"""What `hearonce score` wrote, by corpus, subset and experiment."""

from __future__ import annotations

import json
from typing import Any

from pipeline.config import layout
from stages.score.command import score


def metrics_of(corpus: str, subset: str = "all") -> dict[str, Any]:
    """Metrics of all experiments, by name."""
    return json.loads((layout.results(corpus, subset) / "metrics.json").read_text())


def details_of(corpus: str, name: str, subset: str = "all") -> dict[str, Any]:
    """What stands beside the metrics of an experiment."""
    return json.loads((layout.results(corpus, subset) / "details.json").read_text())[name]


def scored(corpus: str, name: str, subset: str = "all") -> dict[str, Any]:
    """Scores a corpus; the metrics of one experiment, {} if there was nothing to score."""
    score(corpus, subset)
    return metrics_of(corpus, subset).get(name, {})
