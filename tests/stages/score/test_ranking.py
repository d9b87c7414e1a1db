"""Rankings against their definitions, spelt out item by item."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from stages.score.functional import blocks, ranking

FEW_VALUES = st.integers(-2, 2).map(float)
"""Few distinct similarities, so that ties are common."""


@st.composite
def retrievals(draw, elements=FEW_VALUES, dtype=np.float32):
    """Similarities with ties, and which items are relevant."""
    shape = draw(array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=7))
    sims = draw(arrays(dtype, shape, elements=elements))
    return sims, draw(arrays(bool, shape))


def brute_force_rank(row, relevant, ties):
    """The places that the best relevant item can have in a descending sort, which any other one may precede."""
    if not relevant.any():
        return np.nan
    best = max(row[relevant])
    items = sorted([best, *row[~relevant]], reverse=True)
    above = sum(value > best for value in row)
    places = [above + place for place, value in enumerate(items[items.index(best) :], 1) if value == best]
    return {"optimistic": places[0], "mean": np.mean(places), "pessimistic": places[-1]}[ties]


@pytest.mark.parametrize("ties", ["mean", "optimistic", "pessimistic"])
@given(retrieval=retrievals())
def test_ranks_follow_the_definition(ties, retrieval):
    sims, relevant = retrieval
    expected = [brute_force_rank(row, answers, ties) for row, answers in zip(*retrieval, strict=True)]
    np.testing.assert_array_equal(ranking.ranks_of_best(sims, relevant, ties), expected)


@given(retrieval=retrievals())
def test_tie_rules_are_ordered(retrieval):
    ranks = [ranking.ranks_of_best(*retrieval, ties) for ties in ("optimistic", "mean", "pessimistic")]
    answered = ~np.isnan(ranks[0])
    assert (ranks[0] <= ranks[1])[answered].all() and (ranks[1] <= ranks[2])[answered].all()


@given(retrieval=retrievals(), data=st.data())
def test_shuffling_the_items_changes_no_rank(retrieval, data):
    sims, relevant = retrieval
    shuffled = data.draw(st.permutations(range(sims.shape[1])))
    np.testing.assert_array_equal(
        ranking.ranks_of_best(sims[:, shuffled], relevant[:, shuffled]),
        ranking.ranks_of_best(sims, relevant),
    )


@given(retrieval=retrievals(), rows=st.integers(1, 4))
def test_blocks_give_the_same_ranks_and_order(retrieval, rows):
    sims, relevant = retrieval
    whole = ranking.ranks_of_best(sims, relevant), ranking.order(sims)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "CELLS_PER_BLOCK", rows * sims.shape[1])
        blocked = ranking.ranks_of_best(sims, relevant), ranking.order(sims)
    for one, other in zip(whole, blocked, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@given(data=st.data())
def test_order_is_descending_and_stable(dtype, data):
    width = {np.float16: 16, np.float32: 32, np.float64: 64}[dtype]
    sims, _ = data.draw(retrievals(st.floats(allow_nan=False, width=width) | FEW_VALUES, dtype))
    expected = [sorted(range(len(row)), key=lambda item: (-row[item], item)) for row in sims]
    result = ranking.order(sims)
    assert result.dtype == np.int32
    np.testing.assert_array_equal(result, expected)


def test_order_takes_both_zeros_for_equal():
    assert ranking.order(np.array([[-0.0, 0.0, -0.0, 1.0, -1.0]], np.float32)).tolist() == [[3, 0, 1, 2, 4]]


@pytest.mark.parametrize("n_items", [1, 2, 300, 5000])
def test_order_tells_values_apart_that_differ_in_their_last_bits(n_items):
    """Such as dual softmax makes; a float64 key has no room for them and the position."""
    rng = np.random.default_rng(n_items)
    sims = 1 / 9668 * (1 + rng.integers(-20, 20, (7, n_items)) * 2.0**-52)
    np.testing.assert_array_equal(ranking.order(sims), np.argsort(-sims, axis=1, kind="stable"))


def test_nan_is_refused_with_the_number_of_the_query():
    sims = np.zeros((3, 4), np.float32)
    sims[2, 1] = np.nan
    for call in (ranking.order, lambda sims: ranking.ranks_of_best(sims, sims == 0)):
        with pytest.raises(ValueError, match=r"query 2 hold nan"):
            call(sims)


def test_other_shapes_and_tie_rules_are_refused():
    sims = np.zeros((3, 4), np.float32)
    with pytest.raises(ValueError, match=r"\(3, 4\).*\(4, 3\)"):
        ranking.ranks_of_best(sims, sims.T == 0)
    with pytest.raises(ValueError, match=r"'random'.*mean, optimistic, pessimistic"):
        ranking.ranks_of_best(sims, sims == 0, "random")
