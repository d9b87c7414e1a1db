"""`hearonce embed CORPUS ENCODER`: clips and captions by one encoder -> rows in the row store -> artifacts."""

from __future__ import annotations

from typing import Annotated

import typer

from cache.durable import remove
from cache.errors import UserError
from pipeline.config import layout
from pipeline.console.app import Cluster, DryRun, Force, KeepGoing, Strict, Workers, finish
from pipeline.monitor.log import logged
from pipeline.monitor.problems import Problems
from pipeline.runner.dask.cluster import open_cluster
from pipeline.runner.dask.runner import DaskRunner
from pipeline.runner.local import LocalRunner
from pipeline.runner.run import Runner
from stages.embed.embeddings import embed_rows, planned
from stages.embed.features import FeatureSource
from stages.embed.inputs import MediaSource, Source
from stages.embed.registry import is_avlnet, load_encoder

Device = Annotated[str | None, typer.Option(envvar="HEARONCE_DEVICE", help="cpu, cuda, cuda:1, ...; a GPU if any.")]
Compiled = Annotated[
    bool, typer.Option("--compile", envvar="HEARONCE_COMPILE", help="Run the networks through torch.compile.")
]
BatchSize = Annotated[
    int | None,
    typer.Option(envvar="HEARONCE_BATCH_SIZE", min=1, help="Rows per forward pass; by default what is fastest."),
]


@logged
def embed(
    corpus: Annotated[str, typer.Argument(help="A corpus of params.yaml.")],
    encoder: Annotated[str, typer.Argument(help="An encoder of configs/encoders/, or AVLNET@TRAINING.")],
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
    """Embed the clips and the captions of a corpus by an encoder; only rows that no run has computed yet are computed.

    A tower is loaded only if rows of its items are missing; an artifact without missing rows is written from the store.
    """
    problems, lines = Problems("embed", strict), []
    source = open_source(corpus, encoder, remember=not dry_run)
    with open_cluster(cluster, source.folders) as opened:
        for embeddings in source.embeddings:
            items = source.items(embeddings, problems)
            if dry_run:
                lines.append(str(planned(embeddings, items.rows, device, cluster or "", items.seconds)))
                continue
            load = source.load(embeddings, device, compiled)
            threads = items.workers or workers
            runner: Runner = (
                LocalRunner(items.reader.read, load, batch_size=batch_size, workers=threads)
                if opened is None
                else DaskRunner(opened, items.reader, load, batch_size=batch_size, workers=threads)
            )
            lines.append(embed_rows(embeddings, items.rows, runner, problems, items.note, force))
    if dry_run:
        return print("\n".join(lines))
    _remove_others(source)
    problems.write(layout.problems(corpus, f"embed/{encoder}"))
    finish("\n".join(lines), len(problems), keep_going)


def open_source(corpus: str, encoder: str, remember: bool = True) -> Source:
    """What an encoder embeds of a corpus: media and captions, or (AVLnet) cached features.

    Raises:
        UserError: no such corpus or encoder, or a file of it is missing.
    """
    if layout.modality_of(encoder) is not None:
        whole = layout.embedded_as(encoder)
        raise UserError(f"{encoder} is one modality of {whole}, which embeds all: `hearonce embed {corpus} {whole}`.")
    if is_avlnet(encoder):
        return FeatureSource(corpus, encoder)
    return MediaSource(corpus, encoder, load_encoder(encoder), remember)


def _remove_others(source: Source) -> None:
    """Removes artifacts that another version or variant of the encoder left in its folder."""
    outs = {embeddings.out for embeddings in source.embeddings}
    for folder in {out.parent for out in outs}:
        for path in folder.glob("*.zarr"):
            if path not in outs:
                remove(path)
