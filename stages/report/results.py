"""Reads what `score` wrote of an experiment, with the sound of the clips in its examples."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cache.errors import UserError
from stages.report.page import ExperimentResult, Hit, QueryExample

Snippet = Callable[[str, str], bytes | None]
"""(corpus, clip id) -> the clip's sound as a file a browser plays, if it has any."""


def nothing_scored(folder: Path) -> str | None:
    """Why an experiment has no numbers, or None if it has."""
    try:
        reason = json.loads((folder / "details.json").read_text(encoding="utf-8")).get("nothing")
    except (OSError, ValueError):
        return None
    return None if reason is None else str(reason)


def read_result(folder: Path, snippet: Snippet) -> ExperimentResult:
    """Reads the results of one experiment.

    Args:
        folder: `data/results/<experiment>`.
        snippet: gives the sound of a clip.

    Raises:
        UserError: a file is missing or no JSON.
    """
    try:
        details = json.loads((folder / "details.json").read_text(encoding="utf-8"))
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        with np.load(folder / "similarity.npz") as stored:
            similarity = {name: stored[name] for name in ("sims", "captions", "clips")}
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"The results in {folder} cannot be read ({error}): run `dvc repro`.") from None
    corpus = details["corpus"]
    return ExperimentResult(
        name=details["experiment"],
        corpus=corpus,
        encoders=details["encoders"],
        caption_source=details["captions"],
        protocol=details["protocol"],
        metrics=_numbers(metrics, details["counts"]),
        chance=_numbers(details["chance"]),
        note=details["note"],
        paper=details["paper"],
        heatmap=similarity["sims"],
        caption_labels=similarity["captions"].tolist(),
        clip_labels=similarity["clips"].tolist(),
        queries=[_example(one, corpus, snippet) for one in details["examples"]],
    )


def _numbers(scores: dict[str, Any], counts: dict[str, Any] | None = None) -> dict[str, Any]:
    """Scores as floats (null is nan), with the sizes joined in."""
    return {
        subset: {
            direction: {name: float("nan") if value is None else value for name, value in values.items()}
            | (counts[subset][direction] if counts else {})
            for direction, values in both.items()
        }
        for subset, both in scores.items()
    }


def _example(record: dict[str, Any], corpus: str, snippet: Snippet) -> QueryExample:
    top = [Hit(one["clip"], one["similarity"], snippet(corpus, one["clip"]), one["is_match"]) for one in record["top"]]
    expected = record["expected"]
    return QueryExample(record["caption"], record["rank"], expected, snippet(corpus, expected), top)
