"""`params.yaml`: what a plain `dvc repro` runs, and on which files. Read by the stages, extended by `hearonce add`."""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from cache.durable import new_file
from cache.errors import UserError
from pipeline.config import layout
from pipeline.config.layout import VARIANT, embedded_as
from pipeline.config.records import CONFIGS, Settings, read_yaml, read_yaml_text, validate
from pipeline.console.text import did_you_mean
from pipeline.remote.address import is_url, shown
from pipeline.remote.braces import has_braces

PARAMS = Path("params.yaml")
MIGRATE = "run `hearonce migrate` (`--dry-run` shows what it changes)"


class CorpusPlace(Settings):
    """Where the files of a corpus lie on this machine.

    Attributes:
        media: folder of videos and audio files, or a media list (`pipeline/media/media_list.py`).
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
        if isinstance(value, str) and has_braces(value) and not Path(value).exists():
            raise ValueError(
                f"{value} stands for several files, but DVC watches one path: name their folder, or the list that "
                f"`hearonce list-media '{value}' -o shards.csv` writes"
            )
        return value


class Embedding(Settings):
    """One corpus embedded by one encoder.

    Attributes:
        corpus: whose clips and captions.
        encoder: name, see `encoder_name`.
        config: the YAML with its options: that in `configs/encoders/`, or `encoder.yaml` of the training that made it.
        reads: what is embedded, so that DVC watches it: the manifest of extracted audio, the table of media (encoders
            of frames), or the folder of features (AVLnet).
    """

    corpus: str
    encoder: str
    config: Path
    reads: Path


class Training(Settings):
    """One training; the rest of it stands in `configs/trainings/`.

    Attributes:
        corpus: folder in `configs/trainings/`.
        reads: two paths, so that DVC watches them: the corpus's tables and its features. For a training on feature
            files of whole videos (HowTo100M) the list of the videos, and the tables or that list again.
        features: folder of the feature files on this machine, for a training on them.
    """

    corpus: str
    reads: Annotated[list[Path], Field(min_length=2, max_length=2)]
    features: Path | None = None


class ScoredSubset(Settings):
    """A subset on which all experiments of its corpus are scored; `all` has every clip."""

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


class Prepared(Settings):
    """What is made of a corpus's embeddings for the search page.

    Attributes:
        corpus: whose clips.
        encoder: that has embedded them.
        make: `map`, where the clips stand in two dimensions; `index`, for approximate search from 10^5 clips on.
    """

    corpus: str
    encoder: str
    make: Literal["map", "index"]


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


class Params(Settings):
    """`params.yaml`: what a plain `dvc repro` runs.

    Attributes:
        corpora: where their files lie.
        descriptions: for each corpus, how language models describe its captions: names of `configs/descriptions/`.
        imports: corpora with published features.
        labels: corpora whose clips are labelled.
        trainings: by name in `configs/trainings/`.
        embeddings: corpora by encoders; an experiment is scored when all its encoders are here.
        subsets: on which the experiments of their corpora are scored.
        search: maps and indexes for search.
    """

    corpora: dict[str, CorpusPlace]
    descriptions: dict[str, list[str]] = {}
    imports: dict[str, Imported] = {}
    labels: dict[str, Label] = {}
    trainings: dict[str, Training] = {}
    embeddings: dict[str, Embedding]
    subsets: dict[str, ScoredSubset] = {}
    search: dict[str, Prepared] = {}

    def encoders_of(self, corpus: str) -> set[str]:
        """Encoders by which a corpus is embedded."""
        return {one.encoder for one in self.embeddings.values() if one.corpus == corpus}

    def subsets_of(self, corpus: str) -> list[str]:
        """Subsets on which a corpus is scored."""
        return [one.subset for one in self.subsets.values() if one.corpus == corpus]


FORMER = (
    "experiments",
    "fusions",
    "avlnet_experiments",
    "avlnets",
    "text_avlnets",
    "text_trainings",
    "file_trainings",
    "speech",
    "levels",
)
"""Lists of `params.yaml` before the current ones."""


def load_params() -> Params:
    """Reads `params.yaml` of the current directory."""
    if not PARAMS.is_file():
        raise UserError(f"{PARAMS} is missing here ({Path.cwd()}): run hearonce in the top folder of the project.")
    data = read_yaml(PARAMS)
    _check_current(data)
    return validate(data, Params, PARAMS)


def is_former(data: Mapping[str, Any]) -> bool:
    """Whether a `params.yaml` was written for an earlier version."""
    embeddings = data.get("embeddings")
    entries = list(embeddings.values()) if isinstance(embeddings, Mapping) else []
    lean = any(isinstance(one, Mapping) and set(one) == {"corpus", "encoder"} for one in entries)
    return lean or any(section in data for section in FORMER)


def _check_current(data: Mapping[str, Any]) -> None:
    if is_former(data):
        raise UserError(f"{PARAMS} is of an earlier version: {MIGRATE}.")


def corpus_place(name: str) -> CorpusPlace:
    """Where `params.yaml` says the files of a corpus lie."""
    corpora = load_params().corpora
    if name not in corpora:
        raise UserError(f"No corpus {name!r} in {PARAMS}: {did_you_mean(name, corpora)}")
    return corpora[name]


# Names of encoders: `CONFIG`, `CONFIG@seedN`, `CONFIG@TRAINING`, `features/CONFIG`; and of one modality of an encoder
# that has several (`layout.modality_of`): `CONFIG@video`, `CONFIG@seedN@video`.

SEED = "seed"
FEATURES = "features/"
"""Encoders of features that other networks are given; DVC watches their folder as a whole."""


def seeded(encoder: str, seed: int) -> str:
    """The name of an encoder with another seed than its YAML has."""
    return f"{encoder}{VARIANT}{SEED}{seed}"


def config_of(encoder: str) -> str:
    """The encoder YAML of an encoder's name, `avlnet` of `avlnet@youcook2-finetuned`."""
    return encoder.partition(VARIANT)[0]


def seed_of(encoder: str) -> int | None:
    """The seed that an encoder's name asks for; None for that of its YAML."""
    variant = embedded_as(encoder).partition(VARIANT)[2]
    return int(variant[len(SEED) :]) if variant.startswith(SEED) and variant[len(SEED) :].isdecimal() else None


def training_of(encoder: str) -> str | None:
    """The training whose weights an encoder's name asks for, None if it asks for none."""
    return None if seed_of(encoder) is not None else embedded_as(encoder).partition(VARIANT)[2] or None


# Entries, as `hearonce add`, `init` and `migrate` write them.

Entry = dict[str, Any]
Additions = Mapping[str, Mapping[str, Entry]]
"""Section -> name -> entry."""
PLACES = ("corpora", "imports", "trainings")
"""Sections whose entries say where files lie: what is given replaces what stands there."""
ONCE = ("embeddings", "imports", "labels", "subsets", "search")
"""Sections in which what an entry makes must be made once, under whatever name it stands there."""


def embedding_entry(corpus: str, encoder: str, reads: str) -> Entry:
    """An entry of `embeddings`.

    Args:
        corpus: name.
        encoder: name.
        reads: `audio`, `frames`, `captions` or `features`: what the encoder is given.
    """
    training = training_of(encoder)
    config = CONFIGS / "encoders" / f"{config_of(encoder)}.yaml"
    paths = {
        "audio": layout.audio(corpus),
        "frames": layout.table(corpus, "media"),
        "captions": layout.table(corpus, "captions"),
        "features": layout.features(corpus),
    }
    return {
        "corpus": corpus,
        "encoder": encoder,
        "config": (layout.training(training) / "encoder.yaml" if training else config).as_posix(),
        "reads": paths[reads].as_posix(),
    }


def embedding_key(corpus: str, encoder: str) -> str:
    """The key of an entry of `embeddings`."""
    training = training_of(encoder)
    if training is not None:
        return training if training.startswith(f"{corpus}-") else f"{corpus}-{training}"
    return f"{corpus}-{encoder.removeprefix(FEATURES).replace(VARIANT, '-')}"


def subset_entries(corpus: str, subsets: list[str]) -> dict[str, Entry]:
    """Entries of `subsets`."""
    return {f"{corpus}-{one}": {"corpus": corpus, "subset": one} for one in subsets}


def extend_params(additions: Additions) -> int:
    """Adds entries to `params.yaml`, whole or not at all; those that stand there already are left as they are.

    A corpus that stands there gets the places that are given for it, its imports and trainings likewise. Comments and
    order of what stands there are kept; sections that the file lacks are added empty.

    Returns:
        How many entries were added or changed.

    Raises:
        UserError: a name stands there for something else, or the file is of an earlier version.
    """
    from ruamel.yaml.comments import CommentedMap

    data = read_round_trip(PARAMS)
    _check_current(data)
    changed = 0
    lacking = [section for section in Params.model_fields if section not in data]
    data.update({section: CommentedMap() for section in lacking})
    for section, entries in additions.items():
        if entries and not data[section]:
            data[section] = CommentedMap()
        for name, entry in entries.items():
            there = data[section].get(name)
            if there == entry or (section in ONCE and entry in data[section].values()):
                continue
            if there is not None and section not in PLACES:
                raise UserError(f"{PARAMS}: {section}.{name} is {dict(there)}, not {dict(entry)}: rename or remove it.")
            data[section][name] = on_one_line(entry)
            changed += 1
    validate(data, Params, PARAMS)
    if changed or lacking:
        write_round_trip(data, PARAMS)
    return changed


def read_round_trip(path: Path) -> Any:
    """A YAML file with its comments and order.

    Raises:
        UserError: it is no YAML, or a key stands there twice.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return YAML().load(read_yaml_text(path))
    except YAMLError as error:
        raise UserError(f"{path} is no valid YAML: {' '.join(str(error).split())[:500]}") from None


def write_round_trip(data: Any, path: Path, end: str = "") -> None:
    """Writes what `read_round_trip` has read and others have changed, and a text below it."""
    text = round_trip_text(data) + end
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def round_trip_text(data: Any) -> str:
    """What `write_round_trip` writes."""
    from ruamel.yaml import YAML

    yaml, text = YAML(), StringIO()
    yaml.width = 1000  # an entry stays on its line
    yaml.dump(data, text)
    return text.getvalue()


def on_one_line(entry: Mapping[str, Any]) -> Any:
    """An entry as `{key: value, ...}`."""
    from ruamel.yaml.comments import CommentedMap

    line = CommentedMap(entry)
    line.fa.set_flow_style()
    return line
