"""`hearonce import-features CORPUS`: features that a corpus's authors publish -> embedding caches, without media."""

from __future__ import annotations

from typing import Annotated

import typer

from cache.errors import UserError
from pipeline.config import layout
from pipeline.config.corpus import load_corpus
from pipeline.config.params import PARAMS, corpus_place, load_params
from pipeline.console.app import KeepGoing, Strict, finish
from pipeline.formats.avlnet_pickles import ClipPickles, published_files
from pipeline.monitor.log import logged
from pipeline.monitor.problems import Problems
from pipeline.monitor.summary import Summary
from stages.import_features.features import survey, write


@logged
def import_features(
    corpus: Annotated[str, typer.Argument(help="A corpus of params.yaml whose reader is avlnet-pickle.")],
    strict: Strict = False,
    keep_going: KeepGoing = False,
) -> None:
    """Write the features in a corpus's published file as embedding caches."""
    place, config = corpus_place(corpus), load_corpus(corpus)
    if config.reader != "avlnet-pickle":
        raise UserError(
            f"Corpus {corpus!r} has no published features (its reader is {config.reader!r}, not 'avlnet-pickle'): "
            "compute them with `hearonce embed`."
        )
    for name, one in load_params().imports.items():
        if one.corpus == corpus and one.annotations != place.annotations:
            raise UserError(
                f"{PARAMS} has imports.{name} at {one.annotations}, but corpora.{corpus} at {place.annotations}: "
                "make them agree."
            )
    files, remarks = published_files(config, place.annotations)
    problems = Problems("import_features", strict)
    summary = Summary(f"import_features {corpus}", unit="rows")
    with summary.timed("read"):
        told: dict[str, str] = {}  # all is read twice
        clips = ClipPickles(files, config.files.layout, lambda where, reason: told.update({where: reason}))
        found = survey(clips, lambda clip, reason: problems.add(clip.id, clip.where, reason))
    for where, reason in told.items():
        problems.add(where, where, reason)
    if told and not any(one.ids for one in found.values()):
        raise UserError(next(iter(told.values())))
    with summary.timed("write"):
        write(clips, found, lambda encoder: layout.embeddings(corpus, encoder, "clips"))
        problems.write(layout.problems(corpus, "import_features"))
    summary.computed = sum(len(one.ids) for one in found.values())
    summary.failed = len(problems)
    summary.wanted = summary.computed + summary.failed
    for remark in remarks:
        summary.add_note(remark)
    finish(summary.line(), len(problems), keep_going)
