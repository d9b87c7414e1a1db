"""`hearonce embed-avlnet CORPUS ENCODER`: cached features -> embeddings of sound, picture and text."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from cache.durable import remove
from cache.errors import UserError
from cache.rows import RowFormat
from pipeline import layout
from pipeline.cluster.running import cluster_named
from pipeline.console.app import Cluster, DryRun, Force, KeepGoing, Strict, Workers, finish
from pipeline.fingerprints import digest_of, fingerprint_of
from pipeline.monitor.log import logged
from pipeline.monitor.problems import Problems
from stages.embed.avlnet.config import AvlNetConfig, caption_sources, encoder_file, load_avlnet_config
from stages.embed.avlnet.making import FeatureReader, SideLoader, network
from stages.embed.command import BatchSize, CorpusName, Device, EncoderName
from stages.embed.encoder import Modality
from stages.embed.making import RunOptions, row_maker
from stages.embed.planning import plan_side
from stages.embed.sides import Side, embed_side

VERSION = 1  # raise it when a change of this code changes rows
STAGE = "embed_avlnet"


@logged
def embed_avlnet(
    corpus: CorpusName,
    encoder: EncoderName,
    strict: Strict = False,
    keep_going: KeepGoing = False,
    workers: Workers = None,
    batch_size: BatchSize = None,
    device: Device = None,
    cluster: Cluster = None,
    force: Force = False,
    dry_run: DryRun = False,
) -> None:
    """Embed the sound, the picture and the text of a corpus by AVLnet, from features that are cached."""
    from pipeline.networks.avlnet import NAMES

    config = load_avlnet_config(corpus, encoder)
    net = network(config.checkpoint)
    if (net.shape.variant == "bi") != (config.words is None):
        remedy = "leave out `words`" if config.words else "name an encoder of word vectors as `words`"
        raise UserError(
            f"{encoder_file(corpus, encoder)}: {config.checkpoint} is {NAMES[net.shape.variant]}: {remedy}."
        )
    problems = Problems(STAGE, strict)
    lines, run, digest = [], uuid4().hex, digest_of(config.checkpoint)
    sources = None if config.words is None else caption_sources(corpus, encoder)
    with cluster_named(cluster) as others:
        options = RunOptions(
            strict, keep_going, workers, batch_size, device, cluster=others, force=force, dry_run=dry_run
        )
        for side in net.shape.sides:
            reader = FeatureReader(corpus, config, side, run, sources if side.endswith("text") else None)
            side_rows = reader.side_rows()
            fingerprint, identity = fingerprint_of({**_identity(config, side), "features": side_rows.made_from})
            maker = row_maker(reader, SideLoader(config.checkpoint, digest, side, device), options)
            modality: Modality = "captions" if side.endswith("text") else "clips"
            into = Side(corpus, encoder, modality, fingerprint, identity, RowFormat(net.shape.dim), side)
            if dry_run:
                lines.append(str(plan_side(into, side_rows.rows, options)))
            else:
                lines.append(embed_side(into, side_rows.rows, maker, problems, force=force))
    if dry_run:
        return print("\n".join(lines))
    for path in layout.embeddings(corpus, encoder, "sound").parent.glob("*.zarr"):
        if path.stem not in net.shape.sides:  # of another variant that had this name
            remove(path)
    if sources is not None:
        lines[-1] += f"; texts of {', '.join(sorted(sources))}, which experiments read"
    problems.write(layout.problems(corpus, f"{STAGE}.{encoder}"))
    finish("\n".join(lines), len(problems), keep_going)


def _identity(config: AvlNetConfig, side: str) -> dict[str, Any]:
    """All that decides a row of a side, beside its features."""
    identity: dict[str, Any] = {"version": VERSION, "checkpoint": config.checkpoint, "side": side}
    if side.startswith("sound"):
        identity["max_frames"] = config.max_frames
    if side.endswith("text"):
        identity["max_words"] = config.max_words
    return identity
