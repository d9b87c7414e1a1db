"""`hearonce check`: does everything that params.yaml and configs/ name fit together? Loads no model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cache.errors import UserError
from pipeline.checkpoints.official import catalogued, official_annotations
from pipeline.config import layout
from pipeline.config.classes import read_prompts, source_of
from pipeline.config.corpus import load_corpus
from pipeline.config.experiments import FOLDER, experiments_of
from pipeline.config.layout import embedded_as
from pipeline.config.params import (
    FEATURES,
    PARAMS,
    Embedding,
    Params,
    embedding_entry,
    load_params,
    training_of,
)
from pipeline.config.records import CONFIGS, named
from pipeline.console.text import counted, did_you_mean
from pipeline.formats.avlnet_pickles import FEATURES as PUBLISHED
from pipeline.media.location import open_place
from pipeline.runner.dask.config import load_cluster
from stages.add import lacking
from stages.add.lacking import Lacking
from stages.add.wiring import features_of, is_by_level, reads_of, training_entry
from stages.describe.config import load_description
from stages.describe.questions import tasks_of
from stages.embed.encoders.avlnet import load_avlnet_config
from stages.embed.registry import is_avlnet
from stages.ingest.shots import check_installed
from stages.train.config import load_training


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
        if load_corpus(name).clips_from == "shots":
            check_installed()
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
    for section in ("imports", "labels", "embeddings", "subsets", "search"):
        for name, entry in getattr(params, section).items():
            _known("corpus", entry.corpus, list(params.corpora), f"{section}.{name}")
    embedded = _embedded(params)
    for name, embedding in params.embeddings.items():
        _check_embedding(name, embedding, params, embedded, missing)
    for name in params.trainings:
        _check_training(name, params, embedded, missing)
    n_experiments = sum(_check_experiments(corpus, params, embedded) for corpus in params.corpora)
    for name, scored in params.subsets.items():
        path = _subset(scored.corpus, scored.subset, f"subsets.{name}")
        levelled = {one.corpus for one in params.labels.values() if one.label == "levels"}
        if scored.corpus not in levelled and is_by_level(scored.corpus, path.stem, load_corpus(scored.corpus)):
            raise UserError(
                f"{PARAMS}: subsets.{name} needs the levels of the clips: add `{scored.corpus}-levels: "
                f"{{corpus: {scored.corpus}, label: levels, encoder: audio-level}}` to `labels`."
            )
    for name, prepared in params.search.items():
        if (prepared.corpus, prepared.encoder) not in embedded:
            raise UserError(
                f"{PARAMS}: search.{name} needs the clips of {prepared.corpus} embedded by {prepared.encoder}: add an "
                "entry to `embeddings`."
            )
    for corpus, names in params.descriptions.items():
        _known("corpus", corpus, list(params.corpora), "descriptions")
        for name in names:
            tasks_of(load_description(name))
    for path in sorted((CONFIGS / "clusters").glob("*.yaml")):
        load_cluster(path.stem)
    print(
        f"{counted(len(params.corpora), 'corpus', 'corpora')}, {counted(len(embedded), 'embedding')}, "
        f"{counted(n_experiments, 'experiment')}, {counted(len(params.trainings), 'training')}, "
        f"{counted(len(params.subsets), 'subset')}: all fits together."
    )
    if lines := lacking.commands(missing):
        print("Official files that still lack:", *lines, sep="\n  ")


def _check_complete(params: Params) -> None:
    """Checks that all lists are there that dvc.yaml reads."""
    absent = [f"`{section}: {{}}`" for section in Params.model_fields if section not in params.model_fields_set]
    if absent:
        raise UserError(f"{PARAMS} lacks what dvc.yaml reads: add {', '.join(absent)}.")


def _embedded(params: Params) -> set[tuple[str, str]]:
    """(corpus, encoder) of all embeddings, imported features included."""
    imported = {(one.corpus, f"{FEATURES}{encoder}") for one in params.imports.values() for encoder in PUBLISHED}
    return {(one.corpus, one.encoder) for one in params.embeddings.values()} | imported


def _check_made_once(params: Params) -> None:
    """Checks that no two entries make the same files: DVC refuses them without naming either."""
    first: dict[str, str] = {}
    for place, what in _made(params):
        if (other := first.setdefault(what, place)) != place:
            raise UserError(f"{PARAMS}: {other} and {place} both {what}: remove one.")


def _made(params: Params) -> Iterator[tuple[str, str]]:
    """Each entry, and what it makes."""
    for name, embedding in params.embeddings.items():
        yield f"embeddings.{name}", f"embed {embedding.corpus} as {embedding.encoder!r}"
    for name, imported in params.imports.items():
        for encoder in PUBLISHED:
            yield f"imports.{name}", f"embed {imported.corpus} as {FEATURES + encoder!r}"
    for name, label in params.labels.items():
        yield f"labels.{name}", f"label {label.corpus} by {label.label}"
        yield f"labels.{name}", f"embed {label.corpus} as {label.encoder!r}"
    for name, scored in params.subsets.items():
        yield f"subsets.{name}", f"score subset {scored.subset!r} of {scored.corpus}"
    for name, prepared in params.search.items():
        yield f"search.{name}", f"make the {prepared.make} of {prepared.corpus} by {prepared.encoder!r}"


def _check_embedding(
    name: str, embedding: Embedding, params: Params, embedded: set[tuple[str, str]], missing: list[Lacking]
) -> None:
    """Checks that DVC watches what an encoder reads, and that it is there.

    Args:
        name: of the entry.
        embedding: the entry.
        params: of the project.
        embedded: (corpus, encoder) of all embeddings.
        missing: takes official files that are not there.
    """
    where, corpus, encoder = f"embeddings.{name}", embedding.corpus, embedding.encoder
    training = training_of(encoder)
    if training is not None and training not in params.trainings:
        raise UserError(f"{PARAMS}: {where}: {encoder} is made by no training of {PARAMS}: {_remedy(training, params)}")
    if is_avlnet(encoder):
        config = load_avlnet_config(corpus, encoder)
        given = config if training is None else load_training(training)
        _check_features(features_of(given), corpus, where, embedded)
        if training is None:
            if (own := layout.training_of(config.checkpoint)) is not None:
                raise UserError(
                    f"{PARAMS}: {where}: the weights of {encoder} are made by training {own!r}: name the encoder "
                    f"`{encoder}@{own}`, so that DVC watches them."
                )
            _check_there([config.checkpoint], params, where, missing)
    else:
        missing += lacking.of_encoder(encoder, corpus)
    wanted = embedding_entry(corpus, encoder, reads_of(encoder))
    if embedding != Embedding.model_validate(wanted):
        entry = ", ".join(f"{key}: {value}" for key, value in wanted.items())
        raise UserError(f"{PARAMS}: {where} does not name what {encoder} reads: write `{name}: {{{entry}}}`.")


def _check_training(name: str, params: Params, embedded: set[tuple[str, str]], missing: list[Lacking]) -> None:
    """Checks that DVC watches what a training reads, and that it is there; arguments as of `_check_embedding`."""
    where, entry, config = f"trainings.{name}", params.trainings[name], load_training(name)
    if config.files is None:
        _known("corpus", entry.corpus, list(params.corpora), where)
        _check_features(features_of(config), entry.corpus, where, embedded)
    elif entry.features is None or not entry.features.exists():
        raise UserError(f"{PARAMS}: {where} names {entry.features} as `features`, which does not exist.")
    wanted = training_entry(config, None)["reads"]
    if [path.as_posix() for path in entry.reads] != wanted:
        raise UserError(f"{PARAMS}: {where} does not name what it reads: write `reads: [{', '.join(wanted)}]`.")
    for subset in (config.train_on, config.evaluate_on):
        if subset is not None:
            _subset(config.corpus, subset, where)
    _check_there(config.reads(), params, where, missing)


def _check_features(features: list[str], corpus: str, where: str, embedded: set[tuple[str, str]]) -> None:
    for encoder in features:
        if (corpus, encoder) not in embedded:
            raise UserError(f"{PARAMS}: {where} reads {corpus} embedded by {encoder}, which `embeddings` lacks.")


def _check_experiments(corpus: str, params: Params, embedded: set[tuple[str, str]]) -> int:
    """Checks the experiments of a corpus that are scored; how many there are."""
    n_scored, described = 0, [f"described-{one}" for one in params.descriptions.get(corpus, [])]
    experiments, classes = experiments_of(corpus), load_corpus(corpus).classes
    prompts = classes.prompts if classes else []
    for name in prompts:
        read_prompts(name)
    prompted = [source_of(name) for name in prompts]
    for experiment in experiments:
        if not all((corpus, embedded_as(encoder)) in embedded for encoder in experiment.encoders):
            continue
        n_scored += 1
        for source in experiment.sources():
            if source.startswith("described-") and source not in described:
                raise UserError(
                    f"{PARAMS}: experiment {experiment.name!r} reads caption source {source!r}, which `descriptions` "
                    f"of {corpus} does not make, {did_you_mean(source, described)}"
                )
            if source.startswith(source_of("")) and source not in prompted:
                raise UserError(
                    f"{PARAMS}: experiment {experiment.name!r} reads caption source {source!r}, which `classes:` of "
                    f"{named('corpora', corpus)} does not make, {did_you_mean(source, prompted)}"
                )
    if not n_scored and corpus in {one.corpus for one in params.subsets.values()}:
        first = experiments[0] if experiments else None
        reason = f"{first.name!r} needs {' + '.join(first.encoders)}" if first else "there is none"
        raise UserError(
            f"{PARAMS}: `subsets` scores {corpus}, but no experiment of {FOLDER / corpus}/ has all its encoders in "
            f"`embeddings` ({reason})."
        )
    return n_scored


def _check_there(needed: list[Path], params: Params, where: str, missing: list[Lacking]) -> None:
    for path in needed:
        if path.exists() or _made_by_training(params, path):
            continue
        if training := layout.training_of(path):
            raise UserError(
                f"{PARAMS}: {where}: {path} is made by no training of {PARAMS}: {_remedy(training, params)}"
            )
        name = catalogued(path)
        if name is None:
            raise UserError(
                f"{PARAMS}: {where}: {path} is missing, and no training makes it: see "
                "`hearonce checkpoints list` and docs/reproduce.md."
            )
        missing.append(Lacking(where.partition(".")[2], path, name))


def _remedy(training: str, params: Params) -> str:
    """What to do about a training that params.yaml lacks."""
    shipped = next((CONFIGS / "trainings").glob(f"*/{training}.yaml"), None)
    if shipped is None:
        return did_you_mean(training, params.trainings)
    return f"list {training!r} there, as `hearonce add {shipped.parent.name}` does."


def _made_by_training(params: Params, path: Path) -> bool:
    """Whether one of the trainings makes a file."""
    folder = path.parent if path.name == "model.pth" else path.parent.parent
    made = (folder / "model.pth", folder / "epochs" / path.name)
    return path in made and any(folder == layout.training(name) for name in params.trainings)


def _subset(corpus: str, name: str, where: str) -> Path:
    path = CONFIGS / "subsets" / corpus / f"{name}.yaml"
    if not path.is_file():
        known = [one.stem for one in path.parent.glob("*.yaml")]
        raise UserError(f"{PARAMS}: {where}: {path} is missing, {did_you_mean(name, known)}")
    return path


def _known(kind: str, name: str, known: list[str], where: str) -> None:
    if name not in known:
        raise UserError(f"{PARAMS}: {where}: no {kind} {name!r}, {did_you_mean(name, known)}")
