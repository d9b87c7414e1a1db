"""`params.yaml`: what a plain `dvc repro` runs, and on which files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from cache.errors import UserError
from pipeline.config.records import Settings, load
from pipeline.console.text import did_you_mean
from pipeline.remote.address import is_url, shown

PARAMS = Path("params.yaml")


class CorpusPlace(Settings):
    """Where the files of a corpus lie on this machine.

    Attributes:
        media: folder of videos and sounds, or a media list (`pipeline/media/media_list.py`).
        annotations: the caption file, or the folder of annotation files.
    """

    media: Path
    annotations: Path

    @field_validator("media", "annotations", mode="before")
    @classmethod
    def _no_url(cls, value: Any) -> Any:
        if isinstance(value, str) and is_url(value):
            raise ValueError(
                f"{shown(value)} is a URL, but DVC watches files of this machine: download annotations, and for media "
                f"name the list that `hearonce list-media {shown(value)} -o media.csv` writes"
            )
        return value


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


class LevelLabels(Settings):
    """A corpus whose clips are labelled by whether they are silent; `silence:` of its own YAML has the threshold."""

    corpus: str


class Label(Settings):
    """Labels of the clips of a corpus, for subsets that name them by `annotated:`.

    Attributes:
        corpus: whose clips.
        label: `speech` (subsets `speech` and `sounds`) or `levels` (subsets `audible` and `silent`; `silence:` in the
            corpus's YAML has the threshold).
        encoder: what measures the clips: `silero-vad` or `audio-level`.
        least_share: for `speech`: seconds of speech over seconds of the clip from which on it is in the subset
            `speech`; 0 asks for any speech at all.
    """

    corpus: str
    label: Literal["speech", "levels"]
    encoder: str
    least_share: Annotated[float, Field(ge=0, le=1)] = 0.0


LABELLERS = {"speech": "silero-vad", "levels": "audio-level"}
"""What measures the clips for a kind of label."""


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


class FileTraining(Settings):
    """A training on feature files of whole videos (HowTo100M) that no corpus of `params.yaml` has.

    Attributes:
        corpus: folder in `configs/trainings/`.
        paths: list of the videos.
        features: folder of the feature files on this machine, in place of that in the training's YAML.
    """

    corpus: str
    paths: Path
    features: Path


class AvlNetPlace(Featured):
    """One corpus embedded by an AVLnet, from cached features.

    Attributes:
        encoder: what the embedding is called: `config`, or with weights of a training `CONFIG@TRAINING`, or any name.
        config: name in `configs/encoders/`; `encoder` if it is left out, but dvc.yaml cannot do without.
        checkpoint: the weights: a file, which a training may make.
    """

    encoder: str
    config: str = ""
    checkpoint: Path

    @property
    def options(self) -> str:
        """Name of the YAML in `configs/encoders/`."""
        return self.config or config_of(self.encoder)

    def reads(self) -> list[str]:
        """What the encoder's YAML must say, too."""
        return [name for name in type(self).model_fields if name not in ("corpus", "encoder", "config", "checkpoint")]


TRAINED_BY = "@"
"""Between the encoder YAML and the training in the name of an embedding: `avlnet@youcook2-finetuned`."""


def config_of(encoder: str) -> str:
    """The encoder YAML of an embedding's name, `avlnet` of `avlnet@youcook2-finetuned`."""
    return encoder.partition(TRAINED_BY)[0]


def seed_of(encoder: str) -> int | None:
    """The seed that an encoder's name asks for; None for that of its YAML."""
    variant = encoder.partition(TRAINED_BY)[2]
    return int(variant.removeprefix("seed")) if variant.startswith("seed") and variant[4:].isdecimal() else None


def training_of(encoder: str) -> str | None:
    """The training whose weights an encoder's name asks for, None if it asks for none."""
    return None if seed_of(encoder) is not None else encoder.partition(TRAINED_BY)[2] or None


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
    levels: dict[str, LevelLabels] = {}
    labels: dict[str, Label] = {}
    trainings: dict[str, Featured] = {}
    text_trainings: dict[str, FeaturedText] = {}
    file_trainings: dict[str, FileTraining] = {}
    avlnets: dict[str, AvlNetPlace] = {}
    text_avlnets: dict[str, AvlNetTextPlace] = {}
    avlnet_experiments: dict[str, Scored] = {}

    def all_experiments(self) -> dict[str, Scored]:
        """Of all kinds, fusions after those on one encoder."""
        return {**self.experiments, **self.fusions, **self.avlnet_experiments}

    def all_trainings(self) -> list[str]:
        """Names of the trainings of all kinds."""
        return [*self.trainings, *self.text_trainings, *self.file_trainings]

    def all_avlnets(self) -> dict[str, AvlNetPlace]:
        """With text and without."""
        return {**self.avlnets, **self.text_avlnets}

    def experiments_of(self, corpus: str) -> list[str]:
        """Names of the experiments on a corpus, fusions last."""
        return [name for name, one in self.all_experiments().items() if one.corpus == corpus]


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
