"""`hearonce measure-levels CORPUS`: peak and RMS of each clip -> the subsets `audible` and `silent`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from cache import tables as schemas
from cache.artifact import open_artifact
from cache.durable import new_file
from cache.errors import UserError
from pipeline import layout
from pipeline.config.corpus import load_corpus
from pipeline.config.params import PARAMS, load_params
from pipeline.console.text import counted
from pipeline.monitor.log import logged
from pipeline.monitor.summary import Summary
from stages.measure_levels.labels import AUDIBLE, SILENT, counts, labelled

METER = "audio-level"


@logged
def measure_levels(
    corpus: Annotated[str, typer.Argument(help="A corpus under `levels:` of params.yaml.")],
) -> None:
    """Label the clips of a corpus by whether they are silent, and say how many fall out."""
    if not any(one.corpus == corpus for one in load_params().levels.values()):
        raise UserError(
            f"{PARAMS} has no corpus {corpus!r} under `levels:`: add `{corpus}: {{corpus: {corpus}}}` there."
        )
    options = load_corpus(corpus).silence
    summary = Summary(f"measure_levels {corpus}", unit="clips")
    with summary.timed("read"):
        n_clips = len(schemas.read_table(layout.table(corpus, "clips"), schemas.CLIPS))
        questions = schemas.read_table(layout.table(corpus, "questions"), schemas.QUESTIONS)
        artifact = open_artifact(layout.embeddings(corpus, METER, "clips"))
        levels = artifact.numpy()
    table = labelled(artifact.ids, levels, options.measure, options.below_dbfs)
    found = counts(table, n_clips, questions)
    with summary.timed("write"):
        schemas.write_table(table, schemas.LEVELS, layout.table(corpus, "levels"))
        with new_file(layout.levels(corpus)) as temporary:
            temporary.write_text(json.dumps({**found, "threshold_dbfs": options.below_dbfs}, indent=1) + "\n")
    summary.wanted, summary.computed = n_clips, len(table)
    limit = f"{options.measure} below {options.below_dbfs:g} dBFS"
    summary.add_note(f"{found[AUDIBLE]} {AUDIBLE}, {found[SILENT]} {SILENT} ({limit})")
    if found["without_audio"]:
        summary.add_note(f"{counted(found['without_audio'], 'clip')} without audio in neither subset")
    if "questions" in found:
        summary.add_note(f"{found['audible_questions']} of {counted(found['questions'], 'question')} stay in {AUDIBLE}")
    print(summary.line(), flush=True)
