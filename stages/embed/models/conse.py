"""ConSE: a classifier's scores as a point in the space of its class names.

Norouzi et al., "Zero-Shot Learning by Convex Combination of Semantic Embeddings", ICLR 2014
(arXiv 1312.5650): the mean of the text embeddings of the k best classes, weighted by their scores.
"""

import numpy as np


def combine(scores: np.ndarray, class_vectors: np.ndarray, top_k: int) -> np.ndarray:
    """Unit-length embeddings of items from their class scores.

    A row depends on its own scores only, bit for bit. Of equal scores the class listed first wins.
    Scores that are all zero say nothing: they count as equal scores of all classes.

    Args:
        scores: (n, classes), not negative.
        class_vectors: (classes, dim) text embeddings of the class names; their length is ignored.
        top_k: how many of the best classes count; all of them where there are fewer.

    Returns:
        (n, dim) float32.
    """
    if scores.ndim != 2 or scores.shape[1] != len(class_vectors):
        raise ValueError(f"scores of shape {scores.shape} do not fit {len(class_vectors)} classes")
    if top_k < 1:
        raise ValueError(f"top_k is {top_k}, it must be at least 1")
    if not (np.isfinite(scores).all() and (scores >= 0).all()):
        raise ValueError("class scores must be finite and not negative")
    vectors = _unit(class_vectors.astype(np.float64))
    everything = _unit(vectors.mean(axis=0, keepdims=True))[0]
    best = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
    weights = np.take_along_axis(scores, best, axis=1).astype(np.float64)
    total = weights.sum(axis=1)
    embeddings = np.empty((len(scores), class_vectors.shape[1]))
    for row, classes in enumerate(best):
        embeddings[row] = everything if total[row] == 0 else (weights[row] / total[row]) @ vectors[classes]
    return _unit(embeddings).astype(np.float32)


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(lengths, np.finfo(np.float64).tiny)
