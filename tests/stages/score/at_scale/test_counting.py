"""Ranks block by block are those of the dense matrix, bit for bit, whatever the rows, blocks and precision."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.errors import UserError
from stages.score.at_scale.bounds import margins
from stages.score.at_scale.counting import count
from stages.score.at_scale.nearest import nearest
from stages.score.at_scale.products import FAST, Multiplier
from stages.score.at_scale.sides import Measure, Side, prepare
from stages.score.at_scale.tally import Tally
from stages.score.at_scale.walk import Steps, pair_similarities
from stages.score.graded import graded_scores
from stages.score.pairs import Pairs
from stages.score.ranking import order, ranks_of_best
from stages.score.retrieval import open_retrieval
from stages.score.similarity import cosine, dot_product, fuse
from stages.score.stored_rows import StoredRows

NUMPY = [Multiplier(precision=precision) for precision in ("fp32", "fp16", "bf16", "fp64")]
TORCH = [Multiplier("cpu", precision) for precision in ("fp32", "fp16", "bf16")]


@st.composite
def rows(draw, generator, n, dim):
    """Embeddings with exact ties: small integers, copies, zero rows."""
    kind = draw(st.sampled_from(["integers", "eighths", "copies", "normal", "long"]))
    values = {
        "integers": lambda: generator.integers(-1, 2, (n, dim)),
        "eighths": lambda: generator.integers(-4, 5, (n, dim)) / 8,
        "copies": lambda: generator.standard_normal((n, dim))[generator.integers(0, 1 + n // 4, n)],
        "normal": lambda: generator.standard_normal((n, dim)),
        "long": lambda: 30 * generator.standard_normal((n, dim)) + 10,
    }[kind]()
    values = values.astype(draw(st.sampled_from([np.float16, np.float32])))
    values[generator.random(n) < draw(st.sampled_from([0, 0.2]))] = 0
    return values


@st.composite
def retrievals(draw):
    """Two sides, how they are compared, the dense matrix, and which cells are pairs."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_queries, n_items = draw(st.integers(1, 50)), draw(st.integers(1, 70))
    measure = Measure(draw(st.booleans()), tuple(draw(st.sampled_from([[1.0], [1.0, 1.0], [0.3, 2.0]]))))
    dims = [draw(st.integers(1, 40)) for _ in measure.weights]
    left, right = ([draw(rows(generator, n, dim)) for dim in dims] for n in (n_queries, n_items))
    product = cosine if measure.cosine else dot_product
    sims = fuse([product(a, b) for a, b in zip(left, right, strict=True)], measure.weights)
    paired = generator.random(sims.shape) < draw(st.sampled_from([0.02, 0.1, 0.6]))
    sides = [Side([[StoredRows(part)] for part in parts]) for parts in (left, right)]
    return sides[0], sides[1], measure, sims, paired


def tallies(queries, items, measure, sims, paired, multiplier=FAST, steps=None, best=False):
    pairs = Pairs.of(*np.nonzero(paired))
    turned, order_of_pairs = pairs.turned()
    values = pair_similarities(queries, items, measure, pairs, 7)
    assert np.array_equal(values, sims[pairs.queries, pairs.items])
    forward = Tally(pairs, values, *sims.shape)
    backward = Tally(turned, values[order_of_pairs], *sims.shape[::-1])
    if best:
        forward, backward = forward.of_best(), backward.of_best()
    others = count(queries, items, measure, forward, backward, pairs, multiplier, steps or Steps())
    return forward, backward, others


def assert_dense(tally, sims, paired, graded):
    answered = paired.any(axis=1)
    sims, paired = np.ascontiguousarray(sims[answered]), paired[answered]
    assert np.array_equal(tally.queries(), np.flatnonzero(answered))
    for ties in ("mean", "optimistic", "pessimistic"):
        assert np.array_equal(tally.ranks(ties), ranks_of_best(sims, paired, ties))
    if graded:
        found, dense = tally.graded(), graded_scores(sims, paired.astype(np.float64))
        assert np.array_equal(found.average_precision, dense.average_precision)
        assert np.array_equal(found.ndcg, dense.ndcg)


step = st.builds(Steps, *[st.integers(1, 40)] * 3)


@given(retrievals(), step, st.sampled_from(NUMPY), st.booleans())
@settings(max_examples=100)
def test_counts_are_those_of_the_dense_matrix(one, steps, multiplier, best):
    queries, items, measure, sims, paired = one
    forward, backward, others = tallies(queries, items, measure, sims, paired, multiplier, steps, best)
    assert_dense(forward, sims, paired, not best)
    assert_dense(backward, sims.T, paired.T, not best)
    wrong = np.where(paired, -np.inf, sims).max(axis=1)
    found = np.isfinite(wrong)
    assert np.array_equal(np.isfinite(others.similarities), found)
    assert (np.abs(others.similarities[found] - wrong[found]) <= others.slack[found]).all()


@given(retrievals(), step, st.sampled_from(TORCH))
@settings(max_examples=25)
def test_torch_counts_the_same_in_half_precision(one, steps, multiplier):
    queries, items, measure, sims, paired = one
    forward, backward, _ = tallies(queries, items, measure, sims, paired, multiplier, steps)
    assert_dense(forward, sims, paired, True)
    assert_dense(backward, sims.T, paired.T, True)


@given(retrievals(), step, st.sampled_from([*NUMPY, *TORCH]), st.integers(1, 30))
@settings(max_examples=50)
def test_the_nearest_items_are_the_first_of_the_dense_order(one, steps, multiplier, k):
    queries, items, measure, sims, _ = one
    values, numbers = nearest(queries, items, measure, k, multiplier, steps)
    first = order(sims)[:, :k]
    assert np.array_equal(numbers, first)
    assert np.array_equal(values, np.take_along_axis(sims, first, axis=1))


@pytest.mark.parametrize("multiplier", [*NUMPY, *TORCH], ids=lambda one: f"{one.device}-{one.precision}")
def test_products_keep_within_their_margin_and_use_a_good_part_of_it(multiplier):
    generator = np.random.default_rng(0)
    left, right = (generator.standard_normal((200, 300)).astype(np.float32) for _ in range(2))
    right[:100] = left[:100] + 0.1 * right[:100]
    sides = [
        prepare([rows.astype(np.float64)], Measure(), weighted, multiplier.precision)
        for rows, weighted in ((left, True), (right, False))
    ]
    products = np.array(multiplier.products(*(multiplier.place(side) for side in sides)).tolist())
    dense = cosine(left, right)
    for row in range(200):
        margin = margins(dense[row], sides[0], np.full(200, row), sides[1], multiplier.arithmetic)
        assert (np.abs(products[row] - dense[row]) <= margin).all()
    if multiplier.precision in (
        "fp16",
        "bf16",
    ):  # a wide margin would cost much work
        assert np.abs(products - dense).max() > margin.max() / 100


def test_a_margin_too_small_would_be_noticed(monkeypatch):
    generator = np.random.default_rng(1)
    left, right = (generator.standard_normal((60, 20)).astype(np.float32) for _ in range(2))
    sides = [Side([[StoredRows(one)]]) for one in (left, right)]
    sims, paired = cosine(left, right), np.eye(60, dtype=bool)
    monkeypatch.setattr("stages.score.at_scale.counting.margins", lambda thresholds, *_: np.zeros(len(thresholds)))
    forward, _, _ = tallies(*sides, Measure(), sims, paired, Multiplier(precision="bf16"))
    assert not np.array_equal(forward.ranks("mean"), ranks_of_best(sims, paired))


def test_masses_of_exact_ties_and_of_answers_stay_exact():
    generator = np.random.default_rng(2)
    left = generator.standard_normal((40, 16)).astype(np.float32)[generator.integers(0, 3, 400)]
    right = np.concatenate([left[:200], generator.standard_normal((3000, 16)).astype(np.float32)])
    sides = [Side([[StoredRows(one)]]) for one in (left, right)]
    sims = cosine(left, right)
    paired = generator.random(sims.shape) < 0.01
    paired[np.arange(200), np.arange(200)] = True
    forward, backward, _ = tallies(*sides, Measure(), sims, paired, steps=Steps(256, 1024, 128))
    assert_dense(forward, sims, paired, True)
    assert_dense(backward, sims.T, paired.T, True)


@pytest.mark.parametrize("scale", [1e-30, 1e18])
def test_lengths_that_float32_products_cannot_hold(scale):
    generator = np.random.default_rng(3)
    left, right = ((scale * generator.standard_normal((n, 8))).astype(np.float32) for n in (20, 30))
    sides = [Side([[StoredRows(one)]]) for one in (left, right)]
    sims = dot_product(left, right)
    paired = generator.random(sims.shape) < 0.1
    forward, _, _ = tallies(*sides, Measure(cosine=False), sims, paired)
    assert_dense(forward, sims, paired, True)


def test_similarities_beyond_float32_are_an_error_either_way(monkeypatch):
    side, pairs = Side([[StoredRows(np.full((3, 4), 1e20, np.float32))]]), Pairs.of(np.arange(3), np.arange(3))
    everything = np.ones(3, bool)
    for memory in ("1", "1e-9"):
        monkeypatch.setenv("HEARONCE_SCORE_MEMORY", memory)
        with pytest.raises(UserError, match="too large for float32"):
            open_retrieval(side, side, Measure(cosine=False), pairs).tallies(everything, everything)


def test_a_device_asked_for_by_name_must_be_here(monkeypatch):
    monkeypatch.setenv("HEARONCE_SCORE_MEMORY", "1e-9")
    side, pairs = Side([[StoredRows(np.eye(3, dtype=np.float32))]]), Pairs.of(np.arange(3), np.arange(3))
    monkeypatch.setenv("HEARONCE_DEVICE", "cuda:99")
    with pytest.raises(UserError, match="Device 'cuda:99' cannot be used"):
        open_retrieval(side, side, Measure(), pairs)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "fp64"])
def test_a_gpu_counts_the_same(precision):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    generator = np.random.default_rng(4)
    left, right = (generator.standard_normal((n, 512)).astype(np.float32) for n in (1_000, 5_000))
    right[:1_000] += 0.2 * left
    sides = [Side([[StoredRows(one)]]) for one in (left, right)]
    sims, paired = cosine(left, right), np.zeros((1_000, 5_000), bool)
    paired[np.arange(1_000), np.arange(1_000)] = True
    forward, backward, _ = tallies(*sides, Measure(), sims, paired, Multiplier("cuda", precision))
    assert_dense(forward, sims, paired, True)
    assert_dense(backward, sims.T, paired.T, True)
