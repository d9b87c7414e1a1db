"""`hearonce check`: does everything that params.yaml and configs/ name fit together? Loads no model."""

from __future__ import annotations

from cache.errors import UserError
from pipeline.avlnet_pickle import FEATURES
from pipeline.config import CONFIGS, PARAMS, load_corpus, load_experiment, load_params
from pipeline.suggest import did_you_mean
from stages.embed.registry import load_encoder


def check() -> None:
    """Check params.yaml and the configs it names, and say what was meant where something does not fit.

    Raises:
        UserError: the first thing that does not.
    """
    params = load_params()
    for name, place in params.corpora.items():
        load_corpus(name)
        for path in (place.media, place.annotations):
            if not path.exists():
                raise UserError(f"{PARAMS}: corpus {name!r} names {path}, which does not exist.")
    embedded = set()
    for name, embedding in params.embeddings.items():
        _known("corpus", embedding.corpus, list(params.corpora), f"embeddings.{name}")
        load_encoder(embedding.encoder)
        embedded.add((embedding.corpus, embedding.encoder))
    for section, corpora in (("imports", params.imports), ("speech", params.speech)):
        for name, one in corpora.items():
            _known("corpus", one.corpus, list(params.corpora), f"{section}.{name}")
    embedded |= {(one.corpus, encoder) for one in params.imports.values() for encoder in FEATURES}
    for name in [*params.experiments, *params.fusions]:
        config = load_experiment(name)
        _known("corpus", config.corpus, list(params.corpora), f"experiment {name}")
        for encoder in config.encoders:
            if (config.corpus, encoder) not in embedded:
                raise UserError(
                    f"{PARAMS}: experiment {name!r} reads {config.corpus} embedded by {encoder}, which "
                    "`embeddings` lacks."
                )
    for name, scored in params.subsets.items():
        _known("corpus", scored.corpus, list(params.corpora), f"subsets.{name}")
        path = CONFIGS / "subsets" / scored.corpus / f"{scored.subset}.yaml"
        if not path.is_file():
            known = [one.stem for one in path.parent.glob("*.yaml")]
            raise UserError(f"{PARAMS}: subsets.{name}: {path} is missing, {did_you_mean(scored.subset, known)}")
    print(
        f"{len(params.corpora)} corpora, {len(embedded)} embeddings, "
        f"{len(params.experiments) + len(params.fusions)} experiments, "
        f"{len(params.subsets)} subsets: all fits together."
    )


def _known(kind: str, name: str, known: list[str], where: str) -> None:
    if name not in known:
        raise UserError(f"{PARAMS}: {where}: no {kind} {name!r}, {did_you_mean(name, known)}")
