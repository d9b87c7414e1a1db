"""`hearonce extract-audio CORPUS`: audio tracks into the store, their manifest as the stage's output."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import closing
from typing import Annotated

import polars as pl
import typer

from cache import tables as schemas
from cache.location import Store
from pipeline.config import layout
from pipeline.config.corpus import load_corpus
from pipeline.config.params import corpus_place
from pipeline.config.subsets import media_kinds
from pipeline.console.app import Cluster, DryRun, Force, KeepGoing, Strict, Workers, finish
from pipeline.console.text import counted
from pipeline.media.audio import AudioFile
from pipeline.media.audio_store import AudioStore
from pipeline.media.location import open_place
from pipeline.monitor.disk_space import Reserve, check_disk_space
from pipeline.monitor.events import event
from pipeline.monitor.log import logged
from pipeline.monitor.problems import Problems
from pipeline.monitor.progress import progress
from pipeline.monitor.summary import Summary
from pipeline.monitor.threads import each_in_threads
from pipeline.runner.dask.cluster import open_cluster
from pipeline.runner.previous_outputs import previous_table
from stages.extract_audio.extraction import Extracted, Medium, extracted, planned

OTHER_AUDIO = (
    "an older version had extracted other audio under its digest; it is right now, but rows made from that are wrong: "
    "`hearonce cache forget` drops them (docs/cache.md)"
)


@logged
def extract_audio(
    corpus: Annotated[str, typer.Argument(help="A corpus of params.yaml.")],
    strict: Strict = False,
    keep_going: KeepGoing = False,
    workers: Workers = None,
    cluster: Cluster = None,
    force: Force = False,
    dry_run: DryRun = False,
    everything: Annotated[
        bool,
        typer.Option("--all", help="Also what dvc.lock says has been extracted elsewhere."),
    ] = False,
) -> None:
    """Extract the audio track of each medium of a corpus, once."""
    place, config = corpus_place(corpus), load_corpus(corpus)
    spans = schemas.read_table(layout.table(corpus, "spans"), schemas.SPANS)
    with_audio = spans.filter(pl.col("modality") == "sound")["media_id"].unique()
    media = schemas.read_table(layout.table(corpus, "media"), schemas.MEDIA)
    media = media.filter(pl.col("media_id").is_in(with_audio.implode()))
    store = AudioStore(Store.default(), config.audio, media_kinds(corpus))
    sources = open_place(place.media)
    problems = Problems("extract_audio", strict)
    summary = Summary(f"extract_audio {corpus}", unit="media", wanted=len(media))
    rows = media.to_dicts()
    digests = sorted({row["digest"] for row in rows})
    with summary.timed("check"), each_in_threads(store.checked, digests, workers) as checked:
        present = dict(zip(digests, checked, strict=True))
    damaged = [digest for digest in digests if present[digest] is None and store.find(digest) is not None]
    todo = {row["digest"]: row for row in rows if present[row["digest"]] is None and row["has_audio"]}
    warnings: dict[str, str] = {}
    deferred: dict[str, AudioFile] = {}
    if not everything and len(todo) > len(damaged):
        deferred = _extracted_by_others(corpus, todo.keys() - set(damaged), store, warnings, summary.add_note)
        if deferred:
            summary.add_note(
                f"{counted(len(deferred), 'medium', 'media')} as in dvc.lock, extracted when an encoder asks for them"
            )
        present |= deferred
        todo = {digest: row for digest, row in todo.items() if digest not in deferred}
    summary.found = sum(present[row["digest"]] is not None for row in rows)

    lengths = {digest: row["duration_s"] or 0.0 for digest, row in todo.items()}
    plan = planned(summary, lengths, store)
    if dry_run:
        return print(plan)
    event("plan", label=summary.label, wanted=plan.wanted, found=summary.found, missing=plan.missing)
    if todo:
        check_disk_space(plan.needs, force)

    wanted = [Medium(sources.source(row["path"]), digest, lengths[digest]) for digest, row in todo.items()]
    made: dict[str, Extracted] = {}
    reserve = Reserve(store.folder)
    with (
        progress(summary.label, len(todo), "media") as advance,
        summary.recorded(store.folder),
        open_cluster(cluster, [place.media]) as others,
        closing(extracted(wanted, store, workers, others, summary)) as results,
    ):
        for medium, result in results:
            made[medium.digest] = result
            if isinstance(result, AudioFile):
                summary.computed += 1
                summary.stats.amount += result.n_samples / result.sample_rate
                summary.stats.nbytes += store.path(medium.digest).stat().st_size
            elif strict:
                problems.add(todo[medium.digest]["media_id"], todo[medium.digest]["path"], result)
            advance()
            reserve.check()

    if again := sum(isinstance(made.get(digest), AudioFile) for digest in damaged):
        summary.add_note(f"{counted(again, 'damaged file')} extracted again")
    manifest = []
    for row in rows:
        audio = present[row["digest"]] or made.get(row["digest"], "no audio track")
        if isinstance(audio, str):
            problems.add(row["media_id"], row["path"], audio)
            summary.failed += 1
            continue
        if row["digest"] in store.differing:
            problems.add(row["media_id"], row["path"], OTHER_AUDIO)
        if warning := warnings.get(row["media_id"]) if row["digest"] in deferred else audio.warning:
            problems.add(row["media_id"], row["path"], warning)
        manifest.append(
            {
                "media_id": row["media_id"],
                "digest": row["digest"],
                "recipe": store.recipe(row["digest"]),
                "sample_rate": audio.sample_rate,
                "channels": audio.channels,
                "n_samples": audio.n_samples,
            }
        )
    with summary.timed("write"):
        schemas.write_table(schemas.table(manifest, schemas.AUDIO), schemas.AUDIO, layout.audio(corpus))
        problems.write(layout.problems(corpus, "extract_audio"))
    finish(summary.line(), len(problems), keep_going)


def _extracted_by_others(
    corpus: str, digests: Collection[str], store: AudioStore, warnings: dict[str, str], note: Callable[[str], None]
) -> dict[str, AudioFile]:
    """Audio that the manifest in `dvc.lock` describes, so that it need not be extracted to write this one.

    Args:
        corpus: whose manifest.
        digests: of media that this store has no audio of.
        store: where it would be.
        warnings: gets what was said of media then, by id.
        note: called with why the manifest could not be had.
    """
    earlier = previous_table(layout.audio(corpus), schemas.AUDIO, note)
    known = {
        row["digest"]: AudioFile(row["sample_rate"], row["channels"], row["n_samples"])
        for row in earlier.iter_rows(named=True)
        if row["digest"] in digests and row["recipe"] == store.recipe(row["digest"])
    }
    if known:
        problems = previous_table(layout.problems(corpus, "extract_audio"), schemas.PROBLEMS, note)
        warnings |= dict(problems.select("id", "reason").iter_rows())
    return known
