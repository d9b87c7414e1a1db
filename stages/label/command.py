"""`hearonce label CORPUS speech|levels`: what an encoder measured in each clip -> labels, which subsets can name."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import polars as pl
import typer

from cache import tables as schemas
from cache.artifact import open_artifact
from cache.durable import new_file
from cache.errors import UserError
from pipeline.config import layout
from pipeline.config.corpus import load_corpus
from pipeline.config.params import LABELLERS, PARAMS, Label, load_params
from pipeline.console.text import counted
from pipeline.monitor.log import logged
from pipeline.monitor.summary import Summary
from stages.label.labels import AUDIBLE, SILENT, SOUNDS, SPEECH, label_levels, label_speech, level_counts


class Kind(StrEnum):
    """What clips are labelled by."""

    speech = "speech"
    levels = "levels"


@logged
def label(
    corpus: Annotated[str, typer.Argument(help="A corpus under `labels:` of params.yaml.")],
    kind: Annotated[Kind, typer.Argument(help="`speech`: does somebody speak? `levels`: is it silent?")],
) -> None:
    """Label the clips of a corpus: subsets `speech` and `sounds`, or `audible` and `silent`."""
    kind = Kind(kind)
    options = _options(corpus, kind)
    summary = Summary(f"label {corpus} {kind}", unit="clips")
    with summary.timed("read"):
        n_clips = len(schemas.read_table(layout.table(corpus, "clips"), schemas.CLIPS))
        artifact = open_artifact(layout.embeddings(corpus, options.encoder, "clips"))
    if kind is Kind.speech:
        table = label_speech(artifact.ids, artifact.numpy(), options.least_share)
        counts = {subset: table.filter(pl.col("subset") == subset).height for subset in (SPEECH, SOUNDS)}
        counts |= {"clips": n_clips, "without_audio": n_clips - len(table)}
        summary.add_note(f"{counted(counts[SPEECH], 'clip')} with speech")
    else:
        silence = load_corpus(corpus).silence
        questions = schemas.read_table(layout.table(corpus, "questions"), schemas.QUESTIONS)
        table = label_levels(artifact.ids, artifact.numpy(), silence.measure, silence.below_dbfs)
        counts = level_counts(table, n_clips, questions)
        limit = f"{silence.measure} below {silence.below_dbfs:g} dBFS"
        summary.add_note(f"{counts[AUDIBLE]} {AUDIBLE}, {counts[SILENT]} {SILENT} ({limit})")
    with summary.timed("write"):
        schema = schemas.SPEECH if kind is Kind.speech else schemas.LEVELS
        schemas.write_table(table, schema, layout.table(corpus, kind.value))
        metric = counts if kind is Kind.speech else {**counts, "threshold_dbfs": silence.below_dbfs}
        with new_file(layout.label_counts(corpus, kind.value)) as temporary:
            temporary.write_text(json.dumps(metric, indent=1) + "\n")
    summary.wanted, summary.computed = n_clips, len(table)
    if counts["without_audio"]:
        summary.add_note(f"{counted(counts['without_audio'], 'clip')} without audio in neither subset")
    if "questions" in counts:
        summary.add_note(
            f"{counts['audible_questions']} of {counted(counts['questions'], 'question')} stay in {AUDIBLE}"
        )
    print(summary.line(), flush=True)


def _options(corpus: str, kind: Kind) -> Label:
    for options in load_params().labels.values():
        if (options.corpus, options.label) == (corpus, kind.value):
            return options
    entry = f"{corpus}-{kind.value}: {{corpus: {corpus}, label: {kind.value}, encoder: {LABELLERS[kind.value]}}}"
    raise UserError(f"{PARAMS} has no labels `{kind.value}` of {corpus!r}: add `{entry}` under `labels:`.")
