"""`hearonce check`: does everything that params.yaml and configs/ name fit together? Loads no model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cache.errors import UserError
from pipeline import layout
from pipeline.checkpoints.official import catalogued, official_annotations
from pipeline.config.corpus import load_corpus
from pipeline.config.experiment import load_experiment
from pipeline.config.named import CONFIGS
from pipeline.config.params import PARAMS, AvlNetPlace, AvlNetTextPlace, Featured, FeaturedText, Params, load_params
from pipeline.console.text import counted, did_you_mean
from pipeline.formats.avlnet_pickles import FEATURES
from pipeline.media.location import open_place
from pipeline.runner.dask.config import load_cluster
from stages.add import lacking
from stages.add.lacking import Lacking
from stages.add.wiring import is_by_level
from stages.describe.config import load_description
from stages.describe.description import tasks_of
from stages.embed.encoders.avlnet import load_avlnet_config
from stages.train.config import load_training

WITH_DEFAULT = ("levels", "file_trainings", "labels")
"""Sections of which dvc.yaml has an empty one, for a `params.yaml` that is older than they are."""


def check() -> None:
    """Check params.yaml and the configs it names, and say what was meant where something does not fit.

    Raises:
        UserError: the first thing that does not.
    """
    params = load_params()
    _check_complete(params)
    _check_made_once(params)
    missing: list[Lacking] = []
    for name, place in params.corpora.items():
        load_corpus(name)
        official = [folder for folder, _ in official_annotations(name).values()]
        for path in (place.media, place.annotations):
            if not path.exists() and path not in official:
                raise UserError(f"{PARAMS}: corpus {name!r} names {path}, which does not exist.")
            if layout.holds_outputs(path):
                raise UserError(
                    f"{PARAMS}: corpus {name!r} names {path}, where this project puts what it makes ({layout.DATA}/): "
                    "move the files to another folder and name that."
                )
        missing += lacking.of_annotations(name, place.annotations)
        open_place(place.media)
    embedded = set()
    for name, embedding in params.embeddings.items():
        _known("corpus", embedding.corpus, list(params.corpora), f"embeddings.{name}")
        missing += lacking.of_encoder(embedding.encoder, embedding.corpus)
        embedded.add((embedding.corpus, embedding.encoder))
    for section, corpora in (("imports", params.imports), ("speech", params.speech), ("levels", params.levels)):
        for name, one in corpora.items():
            _known("corpus", one.corpus, list(params.corpora), f"{section}.{name}")
    embedded |= {(one.corpus, encoder) for one in params.imports.values() for encoder in FEATURES}
    _check_avlnets(params, missing)
    embedded |= {(one.corpus, one.encoder) for one in params.all_avlnets().values()}
    for name in params.all_experiments():
        config = load_experiment(name)
        _known("corpus", config.corpus, list(params.corpora), f"experiment {name}")
        described = [f"described-{one}" for one in params.descriptions.get(config.corpus, [])]
        for source in config.sources():
            if source.startswith("described-") and source not in described:
                raise UserError(
                    f"{PARAMS}: experiment {name!r} reads caption source {source!r}, which `descriptions` of "
                    f"{config.corpus} does not make, {did_you_mean(source, described)}"
                )
        for encoder in config.encoders:
            if (config.corpus, encoder) not in embedded:
                raise UserError(
                    f"{PARAMS}: experiment {name!r} reads {config.corpus} embedded by {encoder}, which "
                    "`embeddings` lacks."
                )
    for name, scored in params.subsets.items():
        _known("corpus", scored.corpus, list(params.corpora), f"subsets.{name}")
        path = _subset(scored.corpus, scored.subset, f"subsets.{name}")
        measured = {one.corpus for one in params.levels.values()}
        if scored.corpus not in measured and is_by_level(path, load_corpus(scored.corpus)):
            raise UserError(
                f"{PARAMS}: subsets.{name} needs the levels of the clips: add "
                f"`{scored.corpus}: {{corpus: {scored.corpus}}}` to `levels`."
            )
    for corpus, names in params.descriptions.items():
        _known("corpus", corpus, list(params.corpora), "descriptions")
        for name in names:
            tasks_of(load_description(name))
    for path in sorted((CONFIGS / "clusters").glob("*.yaml")):
        load_cluster(path.stem)
    print(
        f"{counted(len(params.corpora), 'corpus', 'corpora')}, {counted(len(embedded), 'embedding')}, "
        f"{counted(len(params.all_experiments()), 'experiment')}, "
        f"{counted(len(params.all_trainings()), 'training')}, "
        f"{counted(len(params.subsets), 'subset')}: all fits together."
    )
    if lines := lacking.commands(missing):
        print("Official files that still lack:", *lines, sep="\n  ")


def _check_complete(params: Params) -> None:
    """Checks that all is there that dvc.yaml reads; a file that an older version wrote may lack more than one thing."""
    lacking = [
        f"`{section}: {{}}`"
        for section in Params.model_fields
        if section not in params.model_fields_set and section not in WITH_DEFAULT
    ]
    lacking += [
        f"`config: {one.options}` to {section}.{name}"
        for section, avlnets in (("avlnets", params.avlnets), ("text_avlnets", params.text_avlnets))
        for name, one in avlnets.items()
        if not one.config
    ]
    if lacking:
        raise UserError(f"{PARAMS} lacks what dvc.yaml reads: add {', '.join(lacking)}.")


def _check_made_once(params: Params) -> None:
    """Checks that no two entries make the same files: DVC refuses them without naming either."""
    listed = [
        (section, name, f"embed {one.corpus} as {one.encoder!r}")
        for section in ("embeddings", "avlnets", "text_avlnets")
        for name, one in getattr(params, section).items()
    ]
    listed += [
        ("imports", name, f"embed {one.corpus} as {encoder!r}")
        for name, one in params.imports.items()
        for encoder in FEATURES
    ]
    listed += [
        (section, name, f"{what} {one.corpus}")
        for section, what in (("speech", "detect speech in"), ("levels", "measure the levels of"))
        for name, one in getattr(params, section).items()
    ]
    listed += [
        ("subsets", name, f"score subset {one.subset!r} of {one.corpus}") for name, one in params.subsets.items()
    ]
    listed += [
        (section, name, f"make {what} {name!r}")
        for what, sections in (
            ("training", ("trainings", "text_trainings", "file_trainings")),
            ("experiment", ("experiments", "fusions", "avlnet_experiments")),
        )
        for section in sections
        for name in getattr(params, section)
    ]
    first: dict[str, str] = {}
    for section, name, what in listed:
        place = f"{section}.{name}"
        if (other := first.setdefault(what, place)) != place:
            other_name = ", or give it another `encoder`, such as `CONFIG@TRAINING`" if "avlnets" in section else ""
            raise UserError(f"{PARAMS}: {other} and {place} both {what}: remove one{other_name}.")


def _check_avlnets(params: Params, missing: list[Lacking]) -> None:
    """Checks what AVLnet is trained on and embeds.

    Args:
        params: of the project.
        missing: takes official files that are not there.

    Raises:
        UserError: something does not fit, or a file is missing that nothing makes and nobody fetches.
    """
    listed = {(one.corpus, one.encoder) for one in params.embeddings.values()}
    listed |= {(one.corpus, encoder) for one in params.imports.values() for encoder in FEATURES}
    trained = {layout.training(name) for name in params.all_trainings()}
    groups: dict[str, Mapping[str, Featured]] = {
        "trainings": {**params.trainings, **params.text_trainings},
        "avlnets": params.all_avlnets(),
    }
    for group, places in groups.items():
        for name, place in places.items():
            _known("corpus", place.corpus, list(params.corpora), f"{group}.{name}")
            features = [place.sound, place.flat, place.moving]
            if isinstance(place, FeaturedText | AvlNetTextPlace):
                features.append(place.words)
            for encoder in features:
                if (place.corpus, encoder) not in listed:
                    raise UserError(
                        f"{PARAMS}: {group}.{name} reads {place.corpus} embedded by {encoder}, which "
                        "`embeddings` lacks."
                    )
            if isinstance(place, AvlNetPlace):
                load_avlnet_config(place.corpus, place.encoder)
                needed = [place.checkpoint]
            else:
                training = load_training(name)
                needed = training.reads()
                for subset in (training.train_on, training.evaluate_on):
                    if subset is not None:
                        _subset(training.corpus, subset, f"{group}.{name}")
            _there(needed, trained, f"{group}.{name}", missing)
    for name, files in params.file_trainings.items():
        if not files.features.exists():
            raise UserError(f"{PARAMS}: file_trainings.{name} names {files.features}, which does not exist.")
        _there(load_training(name).reads(), trained, f"file_trainings.{name}", missing)
    for name, one in params.text_avlnets.items():
        folder = CONFIGS / "experiments" / one.corpus
        if not folder.is_dir():
            raise UserError(
                f"{PARAMS}: text_avlnets.{name}: {folder}/ is missing, where dvc.yaml looks which captions are read: "
                "write an experiment there that reads them."
            )


def _there(needed: list[Path], trained: set[Path], where: str, missing: list[Lacking]) -> None:
    for path in needed:
        if _made_by(trained, path) or path.exists():
            continue
        name = catalogued(path)
        if training := layout.training_of(path):
            shipped = next((CONFIGS / "trainings").glob(f"*/{training}.yaml"), None)
            remedy = (
                f"list {training!r} there, as `hearonce add {shipped.parent.name}` does."
                if shipped
                else did_you_mean(training, [one.name for one in trained])
            )
            raise UserError(f"{PARAMS}: {where}: {path} is made by no training of {PARAMS}: {remedy}")
        if name is None:
            raise UserError(
                f"{PARAMS}: {where}: {path} is missing, and no training makes it: see "
                "`hearonce checkpoints list` and docs/reproduce.md."
            )
        missing.append(Lacking(where.partition(".")[2], path, name))


def _made_by(trainings: set[Path], path: Path) -> bool:
    """Whether one of the trainings, by their folders, makes a file."""
    folder = path.parent if path.name == "model.pth" else path.parent.parent
    return folder in trainings and path in (folder / "model.pth", folder / "epochs" / path.name)


def _subset(corpus: str, name: str, where: str) -> Path:
    path = CONFIGS / "subsets" / corpus / f"{name}.yaml"
    if not path.is_file():
        known = [one.stem for one in path.parent.glob("*.yaml")]
        raise UserError(f"{PARAMS}: {where}: {path} is missing, {did_you_mean(name, known)}")
    return path


def _known(kind: str, name: str, known: list[str], where: str) -> None:
    if name not in known:
        raise UserError(f"{PARAMS}: {where}: no {kind} {name!r}, {did_you_mean(name, known)}")
