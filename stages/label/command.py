"""`hearonce label CORPUS speech|levels`: what an encoder measured in each clip -> labels, which subsets can name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Literal

import numpy as np
import polars as pl
import typer
from numpy.typing import NDArray

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

SPEECH, SOUNDS = "speech", "sounds"
AUDIBLE, SILENT = "audible", "silent"


def label_speech(clip_ids: Sequence[str], seconds: NDArray[np.floating], least_share: float) -> pl.DataFrame:
    """Puts each clip into one of the two subsets.

    Args:
        clip_ids: n clips.
        seconds: (n, 2): of speech, and of the clip.
        least_share: of the clip's seconds from which on it is `speech`; without any speech it never is.

    Returns:
        A table of the schema `cache.tables.SPEECH`.
    """
    speech, duration = seconds.astype(np.float64).T
    spoken = (speech > 0) & (speech >= least_share * duration)
    return pl.DataFrame(
        {
            "clip_id": list(clip_ids),
            "duration_s": duration,
            "speech_s": speech,
            "subset": np.where(spoken, SPEECH, SOUNDS).tolist(),
        },
        schema={"clip_id": pl.String, "duration_s": pl.Float64, "speech_s": pl.Float64, "subset": pl.String},
    )


def dbfs(amplitudes: NDArray[np.floating]) -> NDArray[np.float64]:
    """Amplitudes in dB relative to full scale (1): 20 log10; -inf for 0."""
    with np.errstate(divide="ignore"):
        return 20.0 * np.log10(amplitudes.astype(np.float64))


def label_levels(
    clip_ids: Sequence[str], levels: NDArray[np.floating], measure: Literal["rms", "peak"], below_dbfs: float
) -> pl.DataFrame:
    """Puts each clip into one of the two subsets.

    Args:
        clip_ids: n clips.
        levels: (n, 2): peak and root mean square, linear.
        measure: which of them counts.
        below_dbfs: a clip whose level is lower is silent.

    Returns:
        A table of the schema `cache.tables.LEVELS`.
    """
    peak, rms = dbfs(levels).T
    silent = (rms if measure == "rms" else peak) < below_dbfs
    return pl.DataFrame(
        {
            "clip_id": list(clip_ids),
            "peak_dbfs": peak,
            "rms_dbfs": rms,
            "subset": np.where(silent, SILENT, AUDIBLE).tolist(),
        },
        schema={"clip_id": pl.String, "peak_dbfs": pl.Float64, "rms_dbfs": pl.Float64, "subset": pl.String},
    )


def level_counts(table: pl.DataFrame, n_clips: int, questions: pl.DataFrame) -> dict[str, int]:
    """How many clips, and questions by their right clip, each subset keeps.

    Args:
        table: of `label_levels`.
        n_clips: of the corpus.
        questions: rows of `cache.tables.QUESTIONS`; empty if the corpus asks none.
    """
    audible = set(table.filter(pl.col("subset") == AUDIBLE)["clip_id"])
    kept = {
        "clips": n_clips,
        AUDIBLE: len(audible),
        SILENT: len(table) - len(audible),
        "without_audio": n_clips - len(table),
    }
    if not questions.is_empty():
        unique = questions.unique("question_id")
        right = [clips[answer] for clips, answer in unique.select("clip_ids", "answer").iter_rows()]
        kept |= {"questions": len(right), "audible_questions": sum(clip in audible for clip in right)}
    return kept


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
