"""Transforms of a similarity matrix that pull apart clips and captions which are close to everything.

Each takes similarities of distinct captions with clips and gives one matrix per direction of the search. All use the
other queries of the test set (or a bank of further ones), so a number with a transform is not one without.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.score.functional.blocks import contiguous, each_block, row_blocks
from stages.score.functional.ranking import Array

TEMPERATURE = 500.0
"""By which the reference divides similarities before the first softmax of `dual_softmax`."""


@dataclass(frozen=True)
class Directed:
    """Similarities to rank by.

    Attributes:
        text_to_clip: (captions, clips); clips are ranked along a row.
        clip_to_text: (captions, clips); captions are ranked along a column.
    """

    text_to_clip: Array
    clip_to_text: Array


Transform = Callable[[Array, Array], Directed]


def untouched(sims: Array, counts: Array) -> Directed:
    """The similarities themselves, for both directions."""
    return Directed(sims, sims)


def dual_softmax(
    sims: Array, counts: Array, temperature: float = TEMPERATURE, dtype: type[np.floating] = np.float64
) -> Directed:
    """Softmax over captions of (softmax over clips of sims / temperature) x sims, as the scripts of EgoVLP have it.

    After Cheng et al. 2021, "Improving Video-Text Retrieval by Multi-Stream Corpus Alignment and Dual Softmax Loss",
    arXiv:2109.04290. The division by 500 makes the first softmax nearly uniform, so the result is close to
    1 / captions everywhere; in float32 its steps are then as coarse as 0.001 of similarity at 10,000 clips and many
    items tie. float64 has no such ties.

    Args:
        sims: (captions, clips) dot products (the reference does not normalise them here).
        counts: (captions,) in how many rows of the reference's matrix each caption stands: one per clip.
        temperature: divides before the first softmax; 1 for a plain one.
        dtype: every step is rounded to this; float32 has the coarse steps of the reference.
    """
    n_rows, n_columns = sims.shape
    result = np.empty(sims.shape, dtype)
    scale = dtype(temperature)

    def over_clips(rows: slice) -> None:
        block = sims[rows].astype(dtype)
        prior = block / scale
        prior -= prior.max(axis=1, keepdims=True, initial=-np.inf)
        np.exp(prior, out=prior)
        prior /= prior.sum(axis=1, keepdims=True, dtype=np.float64).astype(dtype)
        np.multiply(prior, block, out=result[rows])

    each_block(over_clips, n_rows, n_columns)
    greatest = result.max(axis=0, initial=-np.inf)
    totals = np.zeros(n_columns)
    for rows in row_blocks(n_rows, n_columns):
        block = result[rows]
        block -= greatest
        np.exp(block, out=block)
        totals += np.einsum("r,rc->c", counts[rows], block, dtype=np.float64, casting="same_kind")
    for rows in row_blocks(n_rows, n_columns):
        result[rows] /= totals.astype(dtype)
    return Directed(result, result)


def csls(sims: Array, counts: Array, n_neighbours: int = 10) -> Directed:
    """Cross-domain similarity local scaling: 2 sims - the mean similarity of either side's nearest neighbours.

    Conneau et al. 2018, "Word Translation Without Parallel Data", arXiv:1710.04087, with their 10 neighbours. Each
    distinct caption is one neighbour, however many clips it describes.

    Args:
        sims: (captions, clips) cosine similarities.
        counts: not used.
        n_neighbours: of a caption among the clips and of a clip among the captions.
    """
    of_captions = _mean_of_greatest(sims, n_neighbours)
    of_clips = _mean_of_greatest(sims.T, n_neighbours)
    result = np.empty_like(sims)

    def work(rows: slice) -> None:
        result[rows] = 2.0 * sims[rows].astype(np.float64) - of_captions[rows, None] - of_clips

    each_block(work, *sims.shape)
    return Directed(result, result)


def qb_norm(
    sims: Array,
    counts: Array,
    caption_bank: Array | None = None,
    clip_bank: Array | None = None,
    inverse_temperature: float = 20.0,
    n_activated: int = 1,
) -> Directed:
    """Querybank normalisation with the dynamic inverted softmax.

    Bogolin et al. 2022, "Cross Modal Retrieval with Querybank Normalisation", arXiv:2112.12777, with their inverse
    temperature 20 and activation by the first place. An item is a hub if a query of the bank ranks it first. Queries
    that rank a hub first are ranked by the inverted softmax, which divides by what an item gathers from the bank;
    other queries keep their similarities. The inverted softmax is given as its logarithm, which ranks the same.

    Args:
        sims: (captions, clips) cosine similarities.
        counts: not used; each distinct caption is one query of the bank.
        caption_bank: (any, clips) similarities of captions outside the test set; by default those of it.
        clip_bank: (captions, any), likewise for clips. With the test's own queries as the bank, whatever a query
            ranks first is a hub, and all queries are normalised.
        inverse_temperature: multiplies similarities in the softmax.
        n_activated: places of a bank query's ranking that make hubs.
    """
    caption_bank = sims if caption_bank is None else caption_bank
    clip_bank = sims if clip_bank is None else clip_bank
    to_clips = _inverted_softmax(sims, caption_bank, inverse_temperature, n_activated)
    to_texts = _inverted_softmax(sims.T, clip_bank.T, inverse_temperature, n_activated).T
    return Directed(to_clips, to_texts)


TRANSFORMS: dict[str, Transform] = {
    "none": untouched,
    "dual-softmax": dual_softmax,
    "csls": csls,
    "qb-norm": qb_norm,
}
"""By the name an experiment gives."""


def transform_of(name: str) -> Transform:
    """The transform of this name.

    Raises:
        ValueError: there is none.
    """
    if name not in TRANSFORMS:
        raise ValueError(f"no transform of similarities is called {name!r}; there are {', '.join(TRANSFORMS)}")
    return TRANSFORMS[name]


def _inverted_softmax(sims: Array, bank: Array, beta: float, n_activated: int) -> NDArray[np.float64]:
    """Queries and bank queries are rows, items columns."""
    n_queries, n_items = sims.shape
    hubs = np.zeros(n_items, bool)
    greatest = bank.max(axis=0, initial=-np.inf).astype(np.float64)
    gathered = np.zeros(n_items)
    n_first = min(n_activated, n_items)
    for rows in row_blocks(*bank.shape):
        block = contiguous(bank[rows])
        if n_first == 1:
            hubs[block.argmax(axis=1)] = True
        else:
            hubs[np.argpartition(block, n_items - n_first, axis=1)[:, n_items - n_first :]] = True
        gathered += np.exp(beta * (block - greatest)).sum(axis=0)
    logarithm = np.log(gathered) + beta * greatest
    result = np.empty(sims.shape)

    def work(rows: slice) -> None:
        block = contiguous(sims[rows], np.float64)
        normalised = hubs[block.argmax(axis=1)][:, None]
        result[rows] = np.where(normalised, beta * block - logarithm, block)

    each_block(work, n_queries, n_items)
    return result


def _mean_of_greatest(sims: Array, n: int) -> NDArray[np.float64]:
    """Mean of the n greatest of each row."""
    n_rows, n_columns = sims.shape
    n = min(n, n_columns)
    result = np.empty(n_rows)

    def work(rows: slice) -> None:
        block = np.sort(np.partition(contiguous(sims[rows]), n_columns - n, axis=1)[:, n_columns - n :])
        result[rows] = block.mean(axis=1, dtype=np.float64)

    each_block(work, n_rows, n_columns)
    return result
