"""`configs/experiments/CORPUS/NAME.yaml`: what is ranked, and how numbers come from it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cache.errors import UserError
from pipeline.config.named import named
from pipeline.config.params import PARAMS, Fused, load_params
from pipeline.config.records import Settings, load
from pipeline.console.text import counted

Count = Annotated[int, Field(ge=1)]
Source = Annotated[str, Field(min_length=1)]


class ExperimentConfig(Settings):
    """`configs/experiments/CORPUS/NAME.yaml`.

    Attributes:
        corpus: whose clips and captions are ranked.
        encoders: one, or two whose similarities are added (vision first, where weights are the reference's).
        weights: one per encoder, for the weighted mean of the similarities; equal by default.
        captions: caption source, or one per encoder.
        protocol: how numbers come from similarities: `paired-retrieval` (each caption has its clips),
            `multi-instance` (graded relevancies, A Sound Approach's AudioEpicMIR and EpicSoundsRet), or
            `multiple-choice` (EgoMCQ), or `avlnet` (between the sides that an AVLnet has embedded).
        ties: in `avlnet`, which rank counts where items tie: their `mean`, the `optimistic` or `pessimistic` one, or
            `several-ranks`, as AVLnet's authors have it.
        query_count: in `avlnet`, how many queries recall is a fraction of, where those that lack a side count as
            mistakes; null for those that are here.
        subset_query_counts: the same by subset (MSR-VTT: 1000 in `test`).
        transform: of the similarities before ranking: `dual-softmax`, `csls`, `qb-norm` or `none`.
        normalise: of the five similarities of a multiple-choice question before mixing two encoders; the reference's
            `max` divides by their length, `one` by their sum.
        groups: how groups of multiple-choice questions are called; the two seed systems swap names.
        seeds_of: experiments that differ in the seed only share this name; the report gives their mean and deviation.
        note: a remark that the report shows.
        paper: published values by subset, direction and metric, shown beside ours.
    """

    corpus: str
    encoders: Annotated[list[str], Field(min_length=1, max_length=2)]
    weights: list[Annotated[float, Field(gt=0)]] | None = None
    captions: Source | list[Source] = "given"
    protocol: Literal["paired-retrieval", "multi-instance", "multiple-choice", "avlnet"] = "paired-retrieval"
    transform: Literal["none", "dual-softmax", "csls", "qb-norm"] = "none"
    normalise: Literal["none", "max", "one"] = "none"
    ties: Literal["mean", "optimistic", "pessimistic", "several-ranks"] = "mean"
    query_count: Count | None = None
    subset_query_counts: dict[str, Count] = {}
    groups: Literal["by-type", "audio-egovlp", "egovlp"] = "by-type"
    seeds_of: str = ""
    note: str = ""
    paper: dict[str, dict[str, dict[str, float]]] = {}

    def sources(self) -> list[str]:
        """The caption source of each encoder."""
        return [self.captions] * len(self.encoders) if isinstance(self.captions, str) else self.captions

    def on_subset(self, name: str) -> ExperimentConfig:
        """The same experiment, with the query count of a subset."""
        return self.model_copy(update={"query_count": self.subset_query_counts.get(name)})


def load_experiment(name: str) -> ExperimentConfig:
    """Reads `configs/experiments/<corpus>/<name>.yaml` and checks that `params.yaml` feeds it the same embeddings.

    Raises:
        UserError: the two disagree, so DVC would watch other files than are scored.
    """
    path = named("experiments", name)
    config = load(path, ExperimentConfig)
    if config.corpus != path.parent.name:
        raise UserError(f"{path} is of corpus {config.corpus!r}: move it into {path.parent.parent / config.corpus}/.")
    if config.weights is not None and len(config.weights) != len(config.encoders):
        raise UserError(
            f"{path}: {counted(len(config.weights), 'weight')} for {counted(len(config.encoders), 'encoder')}."
        )
    if len(config.sources()) != len(config.encoders):
        raise UserError(f"{path}: {len(config.sources())} caption sources for {len(config.encoders)} encoders.")
    params = load_params()
    wired = params.all_experiments().get(name)
    if wired is None:
        return config
    encoders = [wired.encoder, wired.second] if isinstance(wired, Fused) else [wired.encoder]
    if (wired.corpus, encoders) != (config.corpus, config.encoders):
        raise UserError(
            f"{PARAMS} runs experiment {name!r} on {wired.corpus} with {' + '.join(encoders)}, but {path} says "
            f"{config.corpus} with {' + '.join(config.encoders)}: make them agree."
        )
    return config
