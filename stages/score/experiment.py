"""An experiment opened for scoring: its protocol over the tables and embedding caches that it names."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.config.experiments import ExperimentConfig
from stages.score.avlnet_retrieval import AvlNetScorer
from stages.score.inputs import EmbeddingReader
from stages.score.multi_instance import InstanceScorer
from stages.score.multiple_choice import ChoiceScorer
from stages.score.paired_retrieval import PairedScorer
from stages.score.scored import Scorer
from stages.score.zero_shot import ZeroShotScorer

PROTOCOLS: dict[str, Callable[[ExperimentConfig, EmbeddingReader], Scorer]] = {
    "paired-retrieval": PairedScorer,
    "multi-instance": InstanceScorer,
    "multiple-choice": ChoiceScorer,
    "avlnet": AvlNetScorer,
    "zero-shot-classification": ZeroShotScorer,
}


def open_experiment(config: ExperimentConfig, reader: EmbeddingReader | None = None) -> Scorer:
    """Reads what the experiment's protocol needs.

    Args:
        config: of the experiment.
        reader: of embedding caches, shared by the experiments of a run.

    Raises:
        NothingToScore: there is nothing to rank.
        UserError: a table or an embedding cache cannot be read.
    """
    return PROTOCOLS[config.protocol](config, reader or EmbeddingReader())
