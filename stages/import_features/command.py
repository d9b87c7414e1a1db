"""`hearonce import-features CORPUS`: features that a corpus's authors publish -> embedding caches, without media."""

from __future__ import annotations

from typing import Annotated

import typer

from cache.errors import UserError
from pipeline.config import layout
from pipeline.config.corpus import load_corpus
from pipeline.config.params import FEATURES, PARAMS, corpus_place, load_params
from pipeline.console.app import KeepGoing, Strict, finish
from pipeline.formats.avlnet_pickles import ClipPickles, published_files
from pipeline.monitor.log import logged
from pipeline.monitor.problems import Problems
from pipeline.monitor.summary import Summary
from stages.import_features.features import survey_features, write


@logged
def import_features(
    corpus: Annotated[str, typer.Argument(help="A corpus of params.yaml whose reader is avlnet-pickle.")],
    strict: Strict = False,
    keep_going: KeepGoing = False,
) -> None:
    """Write the features in a corpus's published file as embedding caches."""
    location, config = corpus_place(corpus), load_corpus(corpus)
    if config.reader != "avlnet-pickle":
        raise UserError(
            f"Corpus {corpus!r} has no published features (its reader is {config.reader!r}, not 'avlnet-pickle'): "
            "compute them with `hearonce embed`."
        )
    for name, entry in load_params().imports.items():
        if entry.corpus == corpus and entry.annotations != location.annotations:
            raise UserError(
                f"{PARAMS} has imports.{name} at {entry.annotations}, but corpora.{corpus} at {location.annotations}: "
                "make them agree."
            )
    files, notes = published_files(config, location.annotations)
    problems = Problems("import_features", strict)
    summary = Summary(f"import_features {corpus}", unit="rows")
    with summary.timed("read"):
        unreadable: dict[str, str] = {}  # by file: all is read twice
        clips = ClipPickles(files, config.files.layout, lambda where, reason: unreadable.update({where: reason}))
        surveys = survey_features(clips, lambda clip, reason: problems.add(clip.id, clip.where, reason))
    for where, reason in unreadable.items():
        problems.add(where, where, reason)
    if unreadable and not any(survey.ids for survey in surveys.values()):
        raise UserError(next(iter(unreadable.values())))
    with summary.timed("write"):
        write(clips, surveys, lambda encoder: layout.embeddings(corpus, f"{FEATURES}{encoder}", "clips"))
        problems.write(layout.problems(corpus, "import_features"))
    summary.computed = sum(len(survey.ids) for survey in surveys.values())
    summary.failed = len(problems)
    summary.wanted = summary.computed + summary.failed
    for note in notes:
        summary.add_note(note)
    finish(summary.line(), len(problems), keep_going)
