"""`hearonce report`: the results of all experiments as one HTML page."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from cache.durable import new_file
from cache.errors import UserError
from pipeline import layout
from pipeline.config import Params, load_params
from pipeline.summary import Summary
from stages.report.clip_sound import snippet
from stages.report.page import render
from stages.report.problems import read_problems
from stages.report.results import nothing_scored, read_result

PAGE = "index.html"


def report() -> None:
    """Show the results of all experiments of params.yaml on one page."""
    params = load_params()
    names = [name for name in params.all_experiments() if layout.results(name).is_dir()]
    if not names:
        raise UserError("There are no results yet: run `dvc repro`.")
    summary = Summary("report", unit="experiments", wanted=len(names))
    with summary.timed("read"):
        empty = {name: reason for name in names if (reason := nothing_scored(layout.results(name)))}
        results = [
            read_result(layout.results(name), _subsets(params, config.corpus), snippet)
            for name, config in params.all_experiments().items()
            if name in names and name not in empty
        ]
        problems = [
            {**row, "path": f"{row['corpus']}: {row['path']}" if row["path"] else row["corpus"]}
            for row in read_problems(layout.PROBLEMS, params)
        ]
        problems += [{"stage": "score", "id": name, "path": "", "reason": reason} for name, reason in empty.items()]
    with summary.timed("write"):
        corpora = ", ".join(dict.fromkeys(result.corpus for result in results))
        page = render(
            results,
            problems,
            f"hearonce: {corpora}",
            {"hearonce": version("hearonce"), "corpora": corpora},
        )
        with new_file(layout.REPORT / PAGE) as temporary:
            temporary.write_text(page, encoding="utf-8")
    summary.computed = len(results)
    summary.note = str(layout.REPORT / PAGE)
    print(summary.line(), flush=True)


def _subsets(params: Params, corpus: str) -> list[Path]:
    """Folders of what has been scored on subsets of a corpus."""
    folders = [layout.subset_results(corpus, one.subset) for one in params.subsets.values() if one.corpus == corpus]
    return [folder for folder in folders if folder.is_dir()]
