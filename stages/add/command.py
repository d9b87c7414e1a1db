"""`hearonce add CORPUS`: a shipped corpus with its experiments and subsets into params.yaml. Loads no model."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import typer

from cache.errors import UserError
from pipeline.checkpoints.official import fetch_command, official_annotations
from pipeline.config import layout
from pipeline.config.corpus import CorpusConfig, load_corpus
from pipeline.config.experiments import ExperimentConfig, experiments_of
from pipeline.config.params import PARAMS, config_of, extend_params, load_params
from pipeline.config.records import CONFIGS, named
from pipeline.console.text import counted, did_you_mean
from pipeline.remote.address import url_of
from stages.add import lacking, wiring
from stages.add.lacking import Lacking

PICKLES = "avlnet-pickle"
"""Reader of corpora whose features are published, and that need no media."""

Corpus = Annotated[str, typer.Argument(help="A corpus of configs/corpora/, or `howto100m`.")]
Folder = Annotated[
    Path | None,
    typer.Option(help="Their folder, or a media list; not needed where params.yaml says so already."),
]
Annotation = Annotated[
    Path | None, typer.Option(help="Their folder; by default where `hearonce checkpoints fetch` puts them.")
]
Patterns = Annotated[
    list[str] | None,
    typer.Option(
        help="Only these experiments of configs/experiments/CORPUS/, `*` stands for anything; may be repeated."
    ),
]


def add(corpus: Corpus, media: Folder = None, annotations: Annotation = None, experiments: Patterns = None) -> None:
    """Add a shipped corpus with all that belongs to it to params.yaml.

    That is: its imports and features, trainings, embeddings, experiments and subsets.
    """
    if _is_files_only(corpus):
        return _add_file_trainings(corpus, media, experiments or ["*"])
    config = load_corpus(corpus)
    place = _place(corpus, config, media, annotations)
    chosen = _experiments(corpus, experiments or ["*"])
    missing = {one: lacking.of_encoder(one, corpus) for experiment in chosen for one in experiment.encoders}
    if not experiments:
        chosen = [experiment for experiment in chosen if _runnable(experiment, missing)]
    encoders = list(dict.fromkeys(one for experiment in chosen for one in experiment.encoders))
    subsets = wiring.subsets_of(corpus)
    entries = wiring.wired(corpus, place, chosen, subsets, config.reader == PICKLES)
    changed = extend_params(entries)
    trainings = len(entries["trainings"])
    print(
        f"{corpus}: {counted(len(encoders), 'encoder')}, "
        + (f"{counted(trainings, 'training')}, " if trainings else "")
        + f"{counted(len(chosen), 'experiment')}, {counted(len(subsets), 'subset')} in {PARAMS} "
        f"({counted(changed, 'new entry', 'new entries')})."
    )
    for what, text in (("Licence", config.licence), ("Terms", config.terms)):
        if text:
            print(f"{what} of {corpus}: {text}")
    files = lacking.of_annotations(corpus, Path(place["annotations"]))
    for one in dict.fromkeys([*encoders, *(entry["encoder"] for entry in entries["embeddings"].values())]):
        files += missing[one] if one in missing else lacking.of_encoder(one, corpus)
    _remind(files)


def _add_file_trainings(corpus: str, media: Path | None, patterns: list[str]) -> None:
    """Wires trainings on files of whole videos; there are no tables to make."""
    known = sorted(path.stem for path in (CONFIGS / "trainings" / corpus).glob("*.yaml"))
    there = [one for one in load_params().trainings.values() if one.corpus == corpus]
    features = media or (there[0].features if there else None)
    if features is None:
        raise UserError(f"{PARAMS} does not say yet where the features of {corpus!r} lie: add --media FOLDER.")
    if not features.exists():
        raise UserError(f"The media folder {features} does not exist.")
    names = _fitting(corpus, "training", patterns, known)
    changed = extend_params(wiring.file_trainings(names, features.as_posix()))
    print(f"{corpus}: {counted(len(names), 'training')} in {PARAMS} ({counted(changed, 'new entry', 'new entries')}).")
    _remind([file for name in names for file in lacking.of_training(name)])


def _is_files_only(corpus: str) -> bool:
    """Whether a name is that of trainings on files of whole videos, and of no corpus."""
    there = (CONFIGS / "corpora" / f"{corpus}.yaml").is_file()
    return not there and any((CONFIGS / "trainings" / corpus).glob("*.yaml"))


def _remind(files: list[Lacking]) -> None:
    """Says what is to be fetched, and what no command fetches."""
    names = [one.name for one in files if one.name is not None]
    if names:
        print(f"Before the first run: uv run {fetch_command(names)}")
    copied = dict.fromkeys((one.fetched_into, one.path.parent) for one in files if one.fetched_into is not None)
    for source, target in copied:
        print(f"Then copy what {target} lacks from {source}, or name that folder by --annotations.")
    for path, reader in {one.path: one.reader for one in reversed(files) if one.name is None}.items():
        print(f"{path}, which {reader} reads, is missing, and no command fetches it: put it there.")
    print("Now: uv run dvc repro")


def _place(corpus: str, config: CorpusConfig, media: Path | None, annotations: Path | None) -> dict[str, str]:
    """The entry of `corpora`.

    Raises:
        UserError: a folder is not given and has no default, or does not exist.
    """
    there = load_params().corpora.get(corpus)
    official = [folder for folder, _ in official_annotations(corpus).values()]
    defaults = {
        "media": named("corpora", corpus) if config.reader == PICKLES else None,
        "annotations": official[0] if official else None,
    }
    place = {}
    for name, given in (("media", media), ("annotations", annotations)):
        path = given or (getattr(there, name) if there else None) or defaults[name]
        if path is None:
            raise UserError(f"{PARAMS} does not say yet where {corpus!r} lies: add --{name} FOLDER.")
        if name == "media" and (url := url_of(path)):
            raise UserError(f"{url} is a URL: `hearonce list-media {url} -o {corpus}.csv`, then --media {corpus}.csv.")
        if not path.exists() and path not in official:
            raise UserError(f"The {name} folder {path} does not exist.")
        if layout.holds_outputs(path):
            raise UserError(
                f"The {name} folder {path} is where this project puts what it makes ({layout.DATA}/), and DVC takes no "
                f"such folder as input: move the files to another one and name that by --{name}."
            )
        place[name] = path.as_posix()
    return place


def _experiments(corpus: str, patterns: list[str]) -> list[ExperimentConfig]:
    """The experiments of a corpus whose names fit a pattern.

    Raises:
        UserError: there are none, or none that a pattern fits.
    """
    known = {experiment.name: experiment for experiment in experiments_of(corpus)}
    if not known:
        raise UserError(f"{CONFIGS / 'experiments' / corpus} holds no experiment to add.")
    fitting = set(_fitting(corpus, "experiment", patterns, list(known)))
    return [experiment for name, experiment in known.items() if name in fitting]


def _fitting(corpus: str, kind: str, patterns: list[str], known: list[str]) -> list[str]:
    chosen = []
    for pattern in patterns:
        fitting = [one for one in known if fnmatchcase(one, pattern)]
        if not fitting:
            raise UserError(f"No {kind} of {corpus!r} is called {pattern!r}, {did_you_mean(pattern, known)}")
        chosen += fitting
    return sorted(set(chosen))


def _runnable(experiment: ExperimentConfig, missing: dict[str, list[Lacking]]) -> bool:
    """Whether all that an experiment needs is there or can be fetched; says what is not."""
    for encoder in experiment.encoders:
        for one in missing[encoder]:
            if one.name is None:
                print(
                    f"{experiment.name} is left out: {one.path} is missing, which no command fetches: add it (see "
                    f"{named('encoders', config_of(encoder))}) , then the corpus again, or name the experiment by "
                    "--experiments."
                )
                return False
    return True
