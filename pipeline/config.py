"""Typed configuration: `params.yaml` says what a run takes in, `configs/` holds one YAML per thing a user names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cache.errors import UserError
from pipeline.official_files import OfficialFiles
from pipeline.suggest import did_you_mean

CONFIGS = Path("configs")
PARAMS = Path("params.yaml")
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's reads a long `params.yaml` ten times as fast as the one in Python; both give plain values only."""
KINDS = {
    "corpora": "corpus",
    "encoders": "encoder",
    "experiments": "experiment",
    "descriptions": "description",
    "trainings": "training",
}
BY_CORPUS = ("experiments", "trainings")
"""Kinds whose files lie in one folder per corpus."""


class Settings(BaseModel):
    """Base of all configuration records: frozen, and a key nobody knows is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CorpusPlace(Settings):
    """Where the files of a corpus lie on this machine.

    Attributes:
        media: folder of videos and sounds.
        annotations: the caption file, or the folder of annotation files.
    """

    media: Path
    annotations: Path


class Embedding(Settings):
    """One corpus embedded by one encoder."""

    corpus: str
    encoder: str


class Scored(Settings):
    """Which embeddings an experiment reads; the rest of it stands in `configs/experiments/`."""

    corpus: str
    encoder: str


class Fused(Scored):
    """An experiment on the sum of two encoders' similarities."""

    second: str


class ScoredSubset(Settings):
    """A subset on which all experiments of its corpus are scored."""

    corpus: str
    subset: str


class Imported(Settings):
    """A corpus whose features are published, so that they are imported instead of computed.

    Attributes:
        corpus: whose clips.
        annotations: where the files lie, as under `corpora:`, so that DVC watches them.
    """

    corpus: str
    annotations: Path


class SpeechLabels(Settings):
    """A corpus whose clips are labelled by whether somebody speaks.

    Attributes:
        corpus: whose clips.
        least_share: seconds of speech over seconds of the clip from which on it is in the subset `speech`; the others
            are in `sounds`. 0 asks for any speech at all.
    """

    corpus: str
    least_share: Annotated[float, Field(ge=0, le=1)] = 0.0


class Featured(Settings):
    """Features that AVLnet is given: names of encoders whose rows of the corpus are cached.

    Attributes:
        corpus: whose clips.
        sound: log-mel spectrograms.
        flat: 2D picture features.
        moving: 3D picture features.
    """

    corpus: str
    sound: str
    flat: str
    moving: str


class FeaturedText(Featured):
    """The same for AVLnet-Text.

    Attributes:
        words: word vectors of the captions.
    """

    words: str


class AvlNetPlace(Featured):
    """One corpus embedded by an AVLnet, from cached features.

    Attributes:
        encoder: name in `configs/encoders/`.
        checkpoint: its weights: a file, which a training may make.
    """

    encoder: str
    checkpoint: Path

    def reads(self) -> list[str]:
        """What the encoder's YAML must say, too."""
        return [name for name in type(self).model_fields if name not in ("corpus", "encoder")]


class AvlNetTextPlace(AvlNetPlace):
    """The same for AVLnet-Text.

    Attributes:
        words: word vectors of the captions.
    """

    words: str


class Params(Settings):
    """`params.yaml`: what a plain `dvc repro` runs.

    Attributes:
        descriptions: for each corpus, how language models describe its captions: names of `configs/descriptions/`.
    """

    corpora: dict[str, CorpusPlace]
    embeddings: dict[str, Embedding]
    experiments: dict[str, Scored]
    fusions: dict[str, Fused] = {}
    subsets: dict[str, ScoredSubset] = {}
    descriptions: dict[str, list[str]] = {}
    imports: dict[str, Imported] = {}
    speech: dict[str, SpeechLabels] = {}
    trainings: dict[str, Featured] = {}
    text_trainings: dict[str, FeaturedText] = {}
    avlnets: dict[str, AvlNetPlace] = {}
    text_avlnets: dict[str, AvlNetTextPlace] = {}
    avlnet_experiments: dict[str, Scored] = {}

    def all_experiments(self) -> dict[str, Scored]:
        """Of all kinds, fusions after those on one encoder."""
        return {**self.experiments, **self.fusions, **self.avlnet_experiments}

    def experiments_of(self, corpus: str) -> list[str]:
        """Names of the experiments on a corpus, fusions last."""
        return [name for name, one in self.all_experiments().items() if one.corpus == corpus]


class AudioSettings(Settings):
    """How sound tracks are extracted.

    Attributes:
        channels: `keep` all of them or mix them to `mono`.
        bits: sample width of the FLAC files.
    """

    channels: Literal["keep", "mono"] = "keep"
    bits: Literal[16, 24] = 16


class CorpusConfig(Settings):
    """`configs/corpora/NAME.yaml`.

    Attributes:
        reader: module of `stages/ingest/readers/` that understands the files.
        files: which published annotation files are read (`epic-mir`, `epic-sounds`, `ego-mcq`, `avlnet-pickle`).
        window_s: media without clip times are cut into windows of this many seconds; null takes each whole.
        min_window_s: a shorter remainder joins the window before it.
        captions_from: where a `folder` finds captions when the annotations are no listing: `subtitles` beside the
            media (SRT, VTT), a `text` file beside each, or the `filename` itself.
        audio: how sound tracks are extracted.
    """

    reader: str = "folder"
    files: OfficialFiles = OfficialFiles()
    window_s: Annotated[float, Field(gt=0)] | None = 10.0
    min_window_s: Annotated[float, Field(ge=0)] = 1.0
    captions_from: Literal["listing", "subtitles", "text", "filename"] = "listing"
    audio: AudioSettings = AudioSettings()


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
            mistakes (MSR-VTT: 1000); null for those that are here. Subsets have their own.
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
    query_count: Annotated[int, Field(ge=1)] | None = None
    groups: Literal["by-type", "audio-egovlp", "egovlp"] = "by-type"
    seeds_of: str = ""
    note: str = ""
    paper: dict[str, dict[str, dict[str, float]]] = {}

    def sources(self) -> list[str]:
        """The caption source of each encoder."""
        return [self.captions] * len(self.encoders) if isinstance(self.captions, str) else self.captions


T = TypeVar("T", bound=BaseModel)


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads a YAML mapping.

    Raises:
        UserError: unreadable, no YAML, or no mapping.
    """
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=LOADER)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise UserError(f"{path} must hold `key: value` lines, found {type(data).__name__}.")
    return data


def validate(data: dict[str, Any], model: type[T], path: Path) -> T:
    """Checks a mapping against a record.

    Raises:
        UserError: names the file, the key and what was meant or expected.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise UserError(_sentence(error, model, path)) from None


def load(path: Path, model: type[T]) -> T:
    """Reads and checks a YAML file; see `read_yaml` and `validate`."""
    return validate(read_yaml(path), model, path)


def named(kind: str, name: str) -> Path:
    """Path of `configs/<kind>/<name>.yaml`; experiments and trainings lie in one folder per corpus below.

    Raises:
        UserError: there is none; says what may have been meant.
    """
    folder = CONFIGS / kind
    if not CONFIGS.is_dir():
        raise UserError(f"{CONFIGS}/ is missing here ({Path.cwd()}): run in the top folder of the project.")
    known = {one.stem: one for one in sorted(folder.glob("*/*.yaml" if kind in BY_CORPUS else "*.yaml"))}
    if name not in known:
        path = folder / ("CORPUS" if kind in BY_CORPUS else "") / f"{name}.yaml"
        raise UserError(f"No {KINDS[kind]} {name!r} ({path} is missing): {did_you_mean(name, known)}")
    return known[name]


def load_params() -> Params:
    """Reads `params.yaml` of the current directory."""
    if not PARAMS.is_file():
        raise UserError(f"{PARAMS} is missing here ({Path.cwd()}): run hearonce in the top folder of the project.")
    return load(PARAMS, Params)


def corpus_place(name: str) -> CorpusPlace:
    """Where `params.yaml` says the files of a corpus lie."""
    corpora = load_params().corpora
    if name not in corpora:
        raise UserError(f"No corpus {name!r} in {PARAMS}: {did_you_mean(name, corpora)}")
    return corpora[name]


def load_corpus(name: str) -> CorpusConfig:
    """Reads `configs/corpora/<name>.yaml`."""
    return load(named("corpora", name), CorpusConfig)


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
        raise UserError(f"{path}: {len(config.weights)} weights for {len(config.encoders)} encoders.")
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


def _sentence(error: ValidationError, model: type[BaseModel], path: Path) -> str:
    parts = []
    for item in error.errors():
        place = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            parts.append(f"unknown key {place!r}, {did_you_mean(str(item['loc'][-1]), _fields(model, item['loc']))}")
        elif item["type"] == "missing":
            parts.append(f"key {place!r} is missing.")
        elif item["type"] == "value_error":  # a check of ours, which says what is wrong; the value may be a secret
            parts.append(f"{place}: {item['ctx']['error']}." if place else f"{item['ctx']['error']}.")
        else:
            parts.append(f"{place}: {item['msg']} (found {item['input']!r}).")
    return f"{path}: {' '.join(parts)}"


def _fields(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """Field names that are allowed where an unknown key stands."""
    current: Any = model
    for part in place[:-1]:
        if isinstance(current, type) and issubclass(current, BaseModel) and part in current.model_fields:
            current = current.model_fields[str(part)].annotation
        elif getattr(current, "__args__", None):
            current = current.__args__[-1]
    return list(current.model_fields) if isinstance(current, type) and issubclass(current, BaseModel) else []
