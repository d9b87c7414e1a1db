"""`hearonce embed-clips|embed-captions CORPUS ENCODER`: missing rows into the row store, then the artifact."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import polars as pl
import typer

from cache import tables as schemas
from cache.artifact import write_blocks
from cache.keys import caption_keys
from cache.location import Store
from pipeline import layout
from pipeline.cluster.running import cluster_named
from pipeline.config.corpus import load_corpus
from pipeline.config.params import corpus_place
from pipeline.console.app import Cluster, DryRun, Force, KeepGoing, Strict, Workers, finish
from pipeline.corpus_tables import media_kinds, read_extended
from pipeline.fingerprints import fingerprint_of
from pipeline.media.audio_store import AudioStore
from pipeline.monitor.log import logged
from pipeline.monitor.problems import Problems
from pipeline.monitor.summary import Summary
from pipeline.wanted_rows import WantedRows
from stages.embed.clip_reader import SOUND, clip_reader, modality_of
from stages.embed.clips import clips_of
from stages.embed.encoder import Encoder, Modality
from stages.embed.loading import identity_of
from stages.embed.making import CaptionReader, Reader, RunOptions, TowerLoader, row_maker
from stages.embed.planning import plan_side
from stages.embed.registry import load_encoder
from stages.embed.sides import Side, embed_side

CAPTIONS_TOGETHER = 1024
"""Captions that are read at a time, and that a worker of a cluster is given at least."""

CorpusName = Annotated[str, typer.Argument(help="A corpus of params.yaml.")]
EncoderName = Annotated[str, typer.Argument(help="An encoder of configs/encoders/.")]
Device = Annotated[str | None, typer.Option(envvar="HEARONCE_DEVICE", help="cpu, cuda, cuda:1, ...; a GPU if any.")]
Compiled = Annotated[
    bool, typer.Option("--compile", envvar="HEARONCE_COMPILE", help="Run the networks through torch.compile.")
]
BatchSize = Annotated[
    int | None,
    typer.Option(envvar="HEARONCE_BATCH_SIZE", min=1, help="Rows per forward pass; by default what is fastest."),
]


@logged
def embed_clips(
    corpus: CorpusName,
    encoder: EncoderName,
    strict: Strict = False,
    keep_going: KeepGoing = False,
    workers: Workers = None,
    batch_size: BatchSize = None,
    device: Device = None,
    compiled: Compiled = False,
    cluster: Cluster = None,
    force: Force = False,
    dry_run: DryRun = False,
) -> None:
    """Embed the clips of a corpus; only what no run has embedded yet is computed."""
    model = load_encoder(encoder)
    if "clips" not in model.sides:
        return _write_nothing(corpus, encoder, "clips", model, keep_going, dry_run)
    place, config = corpus_place(corpus), load_corpus(corpus)
    modality = modality_of(model.clip_input)
    spans = schemas.read_table(layout.table(corpus, "spans"), schemas.SPANS, pl.col("modality") == modality)
    problems = Problems("embed_clips", strict)
    if modality == SOUND:
        usable = schemas.read_table(layout.audio(corpus), schemas.AUDIO)["media_id"]  # the rest has been reported
    else:
        media = schemas.read_table(layout.table(corpus, "media"), schemas.MEDIA)
        usable = media.filter("has_video")["media_id"]
        unseen = media.filter(~pl.col("has_video") & pl.col("media_id").is_in(spans["media_id"].implode()))
        for medium in unseen.iter_rows(named=True):
            problems.add(medium["media_id"], medium["path"], "no picture")
    without = spans.filter(~pl.col("media_id").is_in(usable.implode()))["clip_id"].unique()
    if len(without):
        spans = spans.filter(~pl.col("clip_id").is_in(without.implode()))
    clips = clips_of(spans, place.media)
    audio = AudioStore(Store.default(), config.audio, media_kinds(corpus))
    reader = clip_reader(model.clip_input, clips, audio, config.limits.max_pixels)
    kind = "extracted sound" if modality == SOUND else "picture"
    note = f"{len(without)} clips of media without {kind} left out" if len(without) else ""
    with cluster_named(cluster, [place.media]) as others:
        options = RunOptions(strict, keep_going, workers, batch_size, device, compiled, others, force, dry_run)
        _embed(corpus, encoder, "clips", model, reader.rows, reader, options, problems, note, clips.seconds())


@logged
def embed_captions(
    corpus: CorpusName,
    encoder: EncoderName,
    strict: Strict = False,
    keep_going: KeepGoing = False,
    batch_size: BatchSize = None,
    device: Device = None,
    compiled: Compiled = False,
    cluster: Cluster = None,
    force: Force = False,
    dry_run: DryRun = False,
) -> None:
    """Embed the captions of a corpus; a text that any corpus has embedded before is not computed again."""
    model = load_encoder(encoder)
    if "captions" not in model.sides:
        return _write_nothing(corpus, encoder, "captions", model, keep_going, dry_run)
    table = read_extended(corpus, "captions")
    keys, nothing = caption_keys(table["text"]), pl.repeat("", len(table), eager=True)
    rows = WantedRows(table["caption_id"], keys, np.arange(len(table)) // CAPTIONS_TOGETHER, nothing)
    reader = CaptionReader(keys, table["text"])
    problems = Problems("embed_captions", strict)
    with cluster_named(cluster) as others:
        options = RunOptions(strict, keep_going, 1, batch_size, device, compiled, others, force, dry_run)
        _embed(corpus, encoder, "captions", model, rows, reader, options, problems)


def _write_nothing(corpus: str, name: str, modality: Modality, model: Encoder, keep_going: bool, dry_run: bool) -> None:
    """Writes the empty artifact of a side that the encoder lacks."""
    stage = f"embed_{modality}"
    summary = Summary(f"{stage} {corpus} {name}", note=f"the encoder embeds no {modality}")
    if dry_run:
        return print(summary.line())
    description = {"modality": modality, "encoder": name, "fingerprint": ""}
    write_blocks(layout.embeddings(corpus, name, modality), model.row_format(modality), [], 0, [], description)
    Problems(stage, strict=False).write(layout.problems(corpus, f"{stage}.{name}"))
    finish(summary.line(), 0, keep_going)


def _embed(
    corpus: str,
    name: str,
    modality: Modality,
    model: Encoder,
    rows: WantedRows,
    reader: Reader,
    options: RunOptions,
    problems: Problems,
    note: str = "",
    seconds: np.ndarray | None = None,
) -> None:
    """Runs one tower over the missing rows and writes the artifact."""
    fingerprint, identity = fingerprint_of(identity_of(model, modality), remember=not options.dry_run)
    side = Side(corpus, name, modality, fingerprint, identity, model.row_format(modality))
    if options.dry_run:
        return print(plan_side(side, rows, options, seconds))
    load = TowerLoader(model, modality, fingerprint, options.device, options.compiled)
    line = embed_side(side, rows, row_maker(reader, load, options), problems, note, options.force)
    problems.write(layout.problems(corpus, f"embed_{modality}.{name}"))
    finish(line, len(problems), options.keep_going)
