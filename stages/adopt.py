"""`hearonce adopt CORPUS`: a shipped corpus with its experiments and subsets into params.yaml. Loads no model."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import typer

from cache.errors import UserError
from pipeline.checkpoints.hint import catalogued
from pipeline.config.corpus import load_corpus
from pipeline.config.experiment import ExperimentConfig, load_experiment
from pipeline.config.named import CONFIGS, named
from pipeline.config.params import PARAMS, load_params
from pipeline.counted import counted
from pipeline.params_file import embedding_entries, experiment_entries, extend_params, subset_entries
from pipeline.remote.address import url_of
from pipeline.suggest import did_you_mean
from stages.embed.registry import load_encoder

Folder = Annotated[
    Path | None, typer.Option(help="Their folder, or a media list; not needed where params.yaml says so already.")
]


def adopt(
    corpus: Annotated[str, typer.Argument(help="A corpus of configs/corpora/.")],
    media: Folder = None,
    annotations: Folder = None,
    experiments: Annotated[
        list[str] | None,
        typer.Option(help="Only these of configs/experiments/CORPUS/, `*` stands for anything; may be repeated."),
    ] = None,
) -> None:
    """Add a shipped corpus, its experiments, their embeddings and its subsets to params.yaml."""
    load_corpus(corpus)
    place = _place(corpus, media, annotations)
    chosen = _experiments(corpus, experiments or ["*"])
    missing = {one: _missing_files(one) for config in chosen.values() for one in config.encoders}
    if not experiments:
        chosen = {name: config for name, config in chosen.items() if _runnable(name, config, missing)}
    encoders = list(dict.fromkeys(one for config in chosen.values() for one in config.encoders))
    subsets = sorted(path.stem for path in (CONFIGS / "subsets" / corpus).glob("*.yaml"))
    changed = extend_params(
        {
            "corpora": {corpus: place},
            "embeddings": embedding_entries(corpus, encoders),
            **experiment_entries(chosen),
            "subsets": subset_entries(corpus, subsets),
        }
    )
    print(
        f"{corpus}: {counted(len(encoders), 'encoder')}, {counted(len(chosen), 'experiment')}, "
        f"{counted(len(subsets), 'subset')} in {PARAMS} ({counted(changed, 'new entry', 'new entries')})."
    )
    wanted = dict.fromkeys(catalogued(path) or "" for one in encoders for path in missing[one])
    if fetched := [name for name in wanted if name]:
        print(f"Before the first run: uv run hearonce checkpoints fetch {' '.join(fetched)}")
    print("Now: uv run dvc repro")


def _place(corpus: str, media: Path | None, annotations: Path | None) -> dict[str, str]:
    """The entry of `corpora`.

    Raises:
        UserError: a folder is not given, or does not exist.
    """
    there = load_params().corpora.get(corpus)
    place = {}
    for name, given in (("media", media), ("annotations", annotations)):
        path = given or (getattr(there, name) if there else None)
        if path is None:
            raise UserError(f"{PARAMS} does not say yet where {corpus!r} lies: add --{name} FOLDER.")
        if name == "media" and (url := url_of(path)):
            raise UserError(f"{url} is a URL: `hearonce list-media {url} -o {corpus}.csv`, then --media {corpus}.csv.")
        if not path.exists():
            raise UserError(f"The {name} folder {path} does not exist.")
        place[name] = path.as_posix()
    return place


def _experiments(corpus: str, patterns: list[str]) -> dict[str, ExperimentConfig]:
    """The experiments of a corpus whose names fit a pattern.

    Raises:
        UserError: there are none, or none that a pattern fits.
    """
    known = sorted(path.stem for path in (CONFIGS / "experiments" / corpus).glob("*.yaml"))
    if not known:
        raise UserError(f"{CONFIGS / 'experiments' / corpus} holds no experiment to adopt.")
    chosen = []
    for pattern in patterns:
        fitting = [one for one in known if fnmatchcase(one, pattern)]
        if not fitting:
            raise UserError(f"No experiment of {corpus!r} is called {pattern!r}, {did_you_mean(pattern, known)}")
        chosen += fitting
    return {one: load_experiment(one) for one in sorted(set(chosen))}


def _missing_files(encoder: str) -> list[Path]:
    """Files and folders that options of an encoder name and that are not there; ids of models at a hub are neither."""
    named_files = []
    for _, value in load_encoder(encoder).config:
        if isinstance(value, Path) or (isinstance(value, str) and catalogued(Path(value)) is not None):
            named_files.append(Path(value))
    return [path for path in named_files if not path.exists()]


def _runnable(name: str, config: ExperimentConfig, missing: dict[str, list[Path]]) -> bool:
    """Whether all that an experiment needs is there or can be fetched; says what is not."""
    for encoder in config.encoders:
        for path in missing[encoder]:
            if catalogued(path) is None:
                print(
                    f"{name} is left out: {path} is missing, which no command fetches. Put it there (see "
                    f"{named('encoders', encoder)}) and adopt again, or name the experiment by --experiments."
                )
                return False
    return True
