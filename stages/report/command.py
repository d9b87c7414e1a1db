"""`hearonce report`: the results of all experiments as one HTML page."""

from __future__ import annotations

from importlib.metadata import version

from cache.durable import new_file
from pipeline.config import layout
from pipeline.config.params import load_params
from pipeline.monitor.log import logged
from pipeline.monitor.summary import Summary
from stages.report.clip_sound import Sounds
from stages.report.descriptions import read_descriptions
from stages.report.page import render
from stages.report.problems import read_problems
from stages.report.results import read_results

PAGE = "index.html"


@logged
def report() -> None:
    """Show the results of all experiments of params.yaml on one page."""
    params = load_params()
    summary = Summary("report", unit="experiments")
    sounds = Sounds()
    with summary.timed("read"):
        results, empty = read_results(params, sounds.snippet)
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
            sounds.n_left_out,
            [one for corpus in params.corpora if (one := read_descriptions(corpus))],
        )
        with new_file(layout.REPORT / PAGE) as temporary:
            temporary.write_text(page, encoding="utf-8")
    summary.computed, summary.wanted = len(results), len(results) + len(empty)
    summary.note = str(layout.REPORT / PAGE)
    print(summary.line(), flush=True)
