"""What multi-instance retrieval scored: per query, in all and per class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.score import metrics
from stages.score.ranking import Array

RECALL_AT = (1, 5, 10, 50)
GRADED = ("mAP", "nDCG")


@dataclass(frozen=True)
class DirectionScores:
    """Per query of one direction; the clips, or for text the sentences (graded) and the clips' captions (ranks).

    Attributes:
        average_precision: (clips or sentences,) fraction.
        ndcg: (clips or sentences,) fraction, nan where nothing is relevant.
        ranks: (clips,) 1-based rank of the clip's own caption, or of the clip for its own caption.
    """

    average_precision: NDArray[np.float64]
    ndcg: NDArray[np.float64]
    ranks: NDArray[np.float64]

    def values(self) -> dict[str, float]:
        """R@1, R@5, R@10, R@50 (percent), MedR, MeanR, mAP and nDCG (fractions)."""
        ranked = metrics.retrieval_metrics(self.ranks, RECALL_AT)
        del ranked["n_queries"]
        return ranked | _means(self.average_precision, self.ndcg)


@dataclass(frozen=True)
class MultiInstanceScores:
    """Attributes:
    clip_to_text: a clip searches sentences; the reference's VT and V2T.
    text_to_clip: a sentence searches clips; the reference's TV and T2V.
    """

    clip_to_text: DirectionScores
    text_to_clip: DirectionScores

    def values(self) -> dict[str, dict[str, float]]:
        """Direction -> metric -> value; `average` has the mean of both directions for mAP and nDCG."""
        both = {"clip_to_text": self.clip_to_text.values(), "text_to_clip": self.text_to_clip.values()}
        average = {name: sum(both[one][name] for one in both) / 2 for name in GRADED}
        return both | {"average": average}

    def by_class(self, classes: Sequence[str]) -> dict[str, dict[str, dict[str, float]]]:
        """The same of mAP and nDCG per class of clip, in order of first appearance, as the reference has it.

        Clip to text is the mean over the clips of the class. Text to clip is the mean over *all* sentences, which
        the reference does not restrict, so `average` mixes the two.

        Args:
            classes: (clips,) name of each clip's class; the reference takes its sentence.
        """
        whole = _means(self.text_to_clip.average_precision, self.text_to_clip.ndcg)
        names: dict[str, int] = {}
        numbers = np.array([names.setdefault(name, len(names)) for name in classes])
        scores = self.clip_to_text.average_precision, self.clip_to_text.ndcg
        own = dict(zip(GRADED, (_class_means(one, numbers) for one in scores), strict=True))
        return {
            name: {
                "clip_to_text": {metric: own[metric][number] for metric in GRADED},
                "text_to_clip": dict(whole),
                "average": {metric: (own[metric][number] + whole[metric]) / 2 for metric in GRADED},
            }
            for name, number in names.items()
        }


def _means(average_precision: Array, ndcg: Array) -> dict[str, float]:
    return {"mAP": metrics.mean_scored(average_precision), "nDCG": metrics.mean_scored(ndcg)}


def _class_means(values: NDArray[np.float64], classes: NDArray[np.int64]) -> list[float]:
    """Mean of each class's values that are not nan."""
    scored = ~np.isnan(values)
    counts = np.bincount(classes[scored], minlength=int(classes.max(initial=-1)) + 1)
    sums = np.bincount(classes[scored], values[scored], len(counts))
    means: list[float] = np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0).tolist()
    return means
