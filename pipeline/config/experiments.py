"""`configs/experiments/CORPUS/*.yaml`: what is ranked, and how numbers come from it.

A file is one experiment, or one table of a paper: a grid of rows over encoders, caption sources, transforms and seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from cache.errors import UserError
from pipeline.config import layout
from pipeline.config.params import seeded
from pipeline.config.records import CONFIGS, Settings, read_yaml, validate
from pipeline.console.text import counted, did_you_mean

FOLDER = CONFIGS / "experiments"
ALL = "all"
"""The subset of all clips of a corpus."""
Count = Annotated[int, Field(ge=1)]
Source = Annotated[str, Field(min_length=1)]
Transform = Literal["none", "dual-softmax", "csls", "qb-norm"]
LATER = ("query", "similarity")
"""Options that are left out where they have their defaults, so that results and kept cells of before stay."""
Values = dict[str, dict[str, dict[str, float]]]
"""Published numbers by subset, direction and metric."""


class _Options(Settings):
    """Options that a single experiment and a table share."""

    protocol: Literal["paired-retrieval", "multi-instance", "multiple-choice", "avlnet", "zero-shot-classification"] = (
        "paired-retrieval"
    )
    normalise: Literal["none", "max", "one"] = "none"
    ties: Literal["mean", "optimistic", "pessimistic", "several-ranks"] = "mean"
    query_count: Count | None = None
    subset_query_counts: dict[str, Count] = {}
    groups: Literal["by-type", "audio-egovlp", "egovlp"] = "by-type"
    query: Literal["text", "audio", "video", "audio+video"] = "text"
    similarity: Literal["cosine", "dot"] = "cosine"

    @model_serializer(mode="wrap")
    def _without_defaults(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        options: dict[str, Any] = serialise(self)
        fields = _Options.model_fields
        return {name: value for name, value in options.items() if name not in LATER or value != fields[name].default}


class ExperimentConfig(_Options):
    """One experiment.

    Attributes:
        name: the file's, or composed of the labels of a table's row.
        corpus: whose clips and captions are ranked: the folder's.
        encoders: one, or two whose similarities are added (vision first, where weights are the reference's). Of an
            encoder with several towers of clips `ENCODER@MODALITY`: `audio`, `video` or `audio+video` is the gallery.
        weights: one per encoder, for the weighted mean of the similarities; equal by default.
        captions: caption source, or one per encoder.
        protocol: how numbers come from similarities: `paired-retrieval` (each caption has its clips),
            `multi-instance` (graded relevancies, A Sound Approach's AudioEpicMIR and EpicSoundsRet), or
            `multiple-choice` (EgoMCQ), or `avlnet` (between the modalities that an AVLnet has embedded), or
            `zero-shot-classification` (clips and the texts of classes, caption sources `labels` and `labels@PROMPTS`).
        ties: in `avlnet`, which rank counts where items tie: their `mean`, the `optimistic` or `pessimistic` one, or
            `several-ranks`, as AVLnet's authors have it.
        query_count: in `avlnet`, how many queries recall is a fraction of, where those that lack a modality count as
            mistakes; null for those that have both.
        subset_query_counts: the same by subset (MSR-VTT: 1000 in `test`).
        query: in `paired-retrieval`, what is compared with the gallery: `text`, the captions; or another modality of
            the same clips, such as `audio` with `encoders: [pe-av@video]`, where each clip has one right answer.
        similarity: in `paired-retrieval`, `cosine` or the `dot` product of rows as they are.
        transform: of the similarities before ranking: `dual-softmax`, `csls`, `qb-norm` or `none`.
        normalise: of the five similarities of a multiple-choice question before mixing two encoders; the reference's
            `max` divides by their length, `one` by their sum.
        groups: how groups of multiple-choice questions are called; the two seed systems swap names.
        seeds_of: experiments that differ in the seed only share this name; the report gives their mean and deviation.
        note: shown in the report.
        paper: published values by subset, direction and metric, shown beside ours.
    """

    name: Annotated[str, Field(exclude=True)] = ""
    corpus: str
    encoders: Annotated[list[str], Field(min_length=1, max_length=2)]
    weights: list[Annotated[float, Field(gt=0)]] | None = None
    captions: Source | list[Source] = "given"
    transform: Transform = "none"
    seeds_of: str = ""
    note: str = ""
    paper: Values = {}

    @field_validator("encoders")
    @classmethod
    def _current_names(cls, encoders: list[str]) -> list[str]:
        for encoder in encoders:
            if (new := RENAMED_ENCODERS.get(encoder)) is not None:
                raise ValueError(f"encoder {encoder!r} is renamed to {new!r}: run `hearonce migrate`")
        return encoders

    @model_validator(mode="after")
    def _gallery(self) -> ExperimentConfig:
        if self.query == "text":
            return self
        if self.protocol != "paired-retrieval":
            raise ValueError(f"query {self.query} is for protocol paired-retrieval, not {self.protocol}")
        galleries = {layout.modality_of(encoder) for encoder in self.encoders}
        if len(galleries) > 1 or galleries & {None, self.query}:
            raise ValueError(
                f"query {self.query} needs encoders of another modality, such as {self.encoders[0].split('@')[0]}"
                f"@{'video' if self.query != 'video' else 'audio'}"
            )
        return self

    @model_validator(mode="after")
    def _one_per_encoder(self) -> ExperimentConfig:
        n = len(self.encoders)
        if self.weights is not None and len(self.weights) != n:
            raise ValueError(f"{counted(len(self.weights), 'weight')} for {counted(n, 'encoder')}")
        if len(self.sources()) != n:
            raise ValueError(f"{counted(len(self.sources()), 'caption source')} for {counted(n, 'encoder')}")
        return self

    def sources(self) -> list[str]:
        """The caption source of each encoder."""
        return [self.captions] * len(self.encoders) if isinstance(self.captions, str) else self.captions

    def on_subset(self, name: str) -> ExperimentConfig:
        """The same experiment, with the query count of a subset."""
        return self if name == ALL else self.model_copy(update={"query_count": self.subset_query_counts.get(name)})


RENAMED_ENCODERS = {
    f"{name}-seed{seed}": seeded(name, seed)
    for name in ("laion-clap", "wavcaps-audiocaps", "wavcaps-clotho")
    for seed in (1, 2)
}
"""Encoders that had a YAML for each seed."""


class GridRows(Settings):
    """Rows of a table: every combination of the values of its axes is an experiment.

    A list or a mapping is an axis; its labels (in a list the values themselves) make the names of the experiments,
    `CORPUS-ENCODER[-seedN]-CAPTIONS-TRANSFORM`, and the label `""` adds nothing. A single value is the same for all.

    Attributes:
        encoders: label -> encoder, or two encoders whose similarities are added.
        captions: label -> caption source, or one per encoder.
        transform: label -> transform.
        seeds: of encoders that draw; 0 is the encoder as its YAML says, N is `ENCODER@seedN`. Experiments that
            differ in the seed only are shown as their mean.
        weights: see `ExperimentConfig`.
    """

    encoders: dict[str, str | list[str]]
    captions: Source | dict[str, Source | list[Source]] = "given"
    transform: Transform | dict[str, Transform] = "none"
    seeds: list[Annotated[int, Field(ge=0)]] = []
    weights: list[Annotated[float, Field(gt=0)]] | None = None

    @field_validator("encoders", "captions", "transform", mode="before")
    @classmethod
    def _labelled(cls, value: Any) -> Any:
        """A list of values labels them by themselves."""
        return {str(one): one for one in value} if isinstance(value, list) else value


class Table(_Options):
    """A table of a paper: options of all its experiments, the rows, and published values and notes by experiment."""

    rows: Annotated[list[GridRows], Field(min_length=1)]
    paper: dict[str, Values] = {}
    notes: dict[str, str] = {}

    def expanded(self, corpus: str) -> Iterator[dict[str, Any]]:
        """The options of each experiment, in the order of the rows."""
        shared = self.model_dump(include=set(_Options.model_fields) & self.model_fields_set)
        for grid in self.rows:
            captions = {"": grid.captions} if isinstance(grid.captions, str) else grid.captions
            transforms = {"": grid.transform} if isinstance(grid.transform, str) else grid.transform
            seeds: list[int | None] = [*grid.seeds] or [None]
            axes = product(grid.encoders.items(), captions.items(), transforms.items(), seeds)
            for (label, encoder), (source_label, source), (transform_label, transform), seed in axes:
                parts = [corpus, label, f"seed{seed}" if seed else "", source_label, transform_label]
                name = "-".join(part for part in parts if part)
                alike = "-".join(part for part in [corpus, label, source_label, transform_label] if part)
                encoders = [encoder] if isinstance(encoder, str) else encoder
                yield {
                    **shared,
                    "name": name,
                    "encoders": [seeded(one, seed) for one in encoders] if seed else encoders,
                    "captions": source,
                    "transform": transform,
                    "weights": grid.weights,
                    "seeds_of": "" if seed is None else alike,
                    "note": self.notes.get(name, ""),
                    "paper": self.paper.get(name, {}),
                }


def experiments_of(corpus: str) -> list[ExperimentConfig]:
    """All experiments of `configs/experiments/<corpus>/`, in the order of its files and their rows.

    Raises:
        UserError: a file is wrong, or two experiments have one name.
    """
    found: dict[str, tuple[ExperimentConfig, Path]] = {}
    for path in sorted((FOLDER / corpus).glob("*.yaml")):
        for experiment in read_experiments(path):
            if experiment.name in found:
                other = found[experiment.name][1]
                where = f"{other} and {path}" if other != path else f"{path} twice"
                raise UserError(f"Experiment {experiment.name!r} is in {where}: rename or remove one.")
            found[experiment.name] = experiment, path
    return [experiment for experiment, _ in found.values()]


def read_experiments(path: Path) -> list[ExperimentConfig]:
    """The experiments of one file: one, or all of a table.

    Raises:
        UserError: a key or value is wrong, or the file is of another corpus than its folder.
    """
    stat = path.stat()
    return list(_read(path.absolute(), path, stat.st_mtime_ns, stat.st_size))


@lru_cache(1024)
def _read(absolute: Path, path: Path, changed: int, size: int) -> tuple[ExperimentConfig, ...]:
    """Cached by the file's state: a corpus is asked for its experiments many times in a run."""
    data = read_yaml(path)
    corpus = path.parent.name
    given = data.pop("corpus", corpus)
    if given != corpus:
        raise UserError(f"{path} is of corpus {given!r}: move it into {path.parent.parent / str(given)}/.")
    if "rows" not in data:
        return (_experiment({"name": path.stem, **data}, corpus, path),)
    table = validate(data, Table, path)
    found = tuple(_experiment(one, corpus, path) for one in table.expanded(corpus))
    names = [experiment.name for experiment in found]
    for key in ("paper", "notes"):
        for name in getattr(table, key):
            if name not in names:
                raise UserError(f"{path}: {key}: no row is called {name!r}, {did_you_mean(name, names)}")
    return found


def _experiment(data: Mapping[str, Any], corpus: str, path: Path) -> ExperimentConfig:
    return validate({**data, "corpus": corpus}, ExperimentConfig, path)


def load_experiment(name: str) -> ExperimentConfig:
    """The experiment of that name, of any corpus.

    Raises:
        UserError: there is none; says what may have been meant.
    """
    corpora = sorted(path.name for path in FOLDER.iterdir() if path.is_dir()) if FOLDER.is_dir() else []
    ours = [corpus for corpus in corpora if name.startswith(f"{corpus}-")]
    for corpus in [*sorted(ours, key=len, reverse=True), *(one for one in corpora if one not in ours)]:
        for experiment in experiments_of(corpus):
            if experiment.name == name:
                return experiment
    known = [experiment.name for corpus in corpora for experiment in experiments_of(corpus)]
    raise UserError(f"No experiment {name!r} in {FOLDER}: {did_you_mean(name, known)}")


def embedded_encoders(corpus: str) -> set[str]:
    """Encoders by which the clips or captions of a corpus have been embedded: those with an artifact."""
    folder = layout.DATA / "embeddings" / corpus
    artifacts = [*folder.glob("*/*.zarr"), *folder.glob("features/*/*.zarr")]
    return {path.parent.relative_to(folder).as_posix() for path in artifacts}


def runnable_experiments(corpus: str) -> list[ExperimentConfig]:
    """The experiments of a corpus of which all encoders have embedded it: what `hearonce score` scores."""
    embedded = embedded_encoders(corpus)
    return [one for one in experiments_of(corpus) if embedded.issuperset(map(layout.embedded_as, one.encoders))]
