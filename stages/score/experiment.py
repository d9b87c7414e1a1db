"""An experiment opened for scoring: its protocol over the tables and embedding caches that it names."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.config.experiments import ExperimentConfig
from stages.score.protocols.choice import ChoiceScorer
from stages.score.protocols.instances import InstanceScorer
from stages.score.protocols.paired import PairedScorer
from stages.score.protocols.sides import SideScorer
from stages.score.scored import Scorer

PROTOCOLS: dict[str, Callable[[ExperimentConfig], Scorer]] = {
    "paired-retrieval": PairedScorer,
    "multi-instance": InstanceScorer,
    "multiple-choice": ChoiceScorer,
    "avlnet": SideScorer,
}


def open_experiment(config: ExperimentConfig) -> Scorer:
    """Reads what the experiment's protocol needs.

    Raises:
        NothingToScore: there is nothing to rank.
        UserError: a table or an embedding cache cannot be read.
    """
    return PROTOCOLS[config.protocol](config)
