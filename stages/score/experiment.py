"""An experiment opened for scoring: its protocol over the tables and embedding caches that it names."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.config.experiments import ExperimentConfig
from stages.score.avlnet_retrieval import AvlNetScorer
from stages.score.multi_instance import InstanceScorer
from stages.score.multiple_choice import ChoiceScorer
from stages.score.paired_retrieval import PairedScorer
from stages.score.scored import Scorer

PROTOCOLS: dict[str, Callable[[ExperimentConfig], Scorer]] = {
    "paired-retrieval": PairedScorer,
    "multi-instance": InstanceScorer,
    "multiple-choice": ChoiceScorer,
    "avlnet": AvlNetScorer,
}


def open_experiment(config: ExperimentConfig) -> Scorer:
    """Reads what the experiment's protocol needs.

    Raises:
        NothingToScore: there is nothing to rank.
        UserError: a table or an embedding cache cannot be read.
    """
    return PROTOCOLS[config.protocol](config)
