"""`hearonce detect-speech CORPUS`: seconds of speech in each clip -> the subsets `speech` and `sounds`."""

from __future__ import annotations

from typing import Annotated

import polars as pl
import typer

from cache import tables as schemas
from cache.artifact import open_artifact
from cache.errors import UserError
from pipeline import layout
from pipeline.config.params import PARAMS, SpeechLabels, load_params
from pipeline.console.text import counted
from pipeline.monitor.log import logged
from pipeline.monitor.summary import Summary
from stages.detect_speech.labels import labelled

DETECTOR = "silero-vad"


@logged
def detect_speech(
    corpus: Annotated[str, typer.Argument(help="A corpus under `speech:` of params.yaml.")],
) -> None:
    """Label the clips of a corpus by whether somebody speaks in them."""
    options = _options(corpus)
    summary = Summary(f"detect_speech {corpus}", unit="clips")
    with summary.timed("read"):
        clips = schemas.read_table(layout.table(corpus, "clips"), schemas.CLIPS)["clip_id"].to_list()
        artifact = open_artifact(layout.embeddings(corpus, DETECTOR, "clips"))
        seconds = artifact.numpy()
    table = labelled(artifact.ids, seconds, options.least_share)
    with summary.timed("write"):
        schemas.write_table(table, schemas.SPEECH, layout.table(corpus, "speech"))
    summary.wanted, summary.computed = len(clips), len(table)
    summary.add_note(f"{counted(table.filter(pl.col('subset') == 'speech').height, 'clip')} with speech")
    if len(table) < len(clips):
        summary.add_note(f"{counted(len(clips) - len(table), 'clip')} without sound in neither subset")
    print(summary.line(), flush=True)


def _options(corpus: str) -> SpeechLabels:
    for one in load_params().speech.values():
        if one.corpus == corpus:
            return one
    raise UserError(f"{PARAMS} has no corpus {corpus!r} under `speech:`: add `{corpus}: {{corpus: {corpus}}}` there.")
