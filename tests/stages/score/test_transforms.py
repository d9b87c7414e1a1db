"""Transforms of similarities against their formulas, written out over every row and column."""

import numpy as np
import pytest

from stages.score.functional import blocks, ranking, transforms

COUNTS = np.array([3, 1, 2, 1, 4])


@pytest.fixture
def sims():
    return np.random.default_rng(0).uniform(-1, 1, (5, 11)).astype(np.float32)


def softmax(matrix, axis):
    exponentials = np.exp(matrix)
    return exponentials / exponentials.sum(axis=axis, keepdims=True)


@pytest.mark.parametrize("temperature", [500.0, 1.0])
def test_dual_softmax_counts_repeated_captions(sims, temperature):
    """As over a matrix in which each caption stands once for every clip."""
    whole = np.repeat(sims.astype(float), COUNTS, axis=0)
    expected = softmax(softmax(whole / temperature, axis=1) * whole, axis=0)
    result = transforms.dual_softmax(sims, COUNTS, temperature)
    np.testing.assert_allclose(np.repeat(result.text_to_clip, COUNTS, axis=0), expected, rtol=1e-12)
    np.testing.assert_array_equal(result.clip_to_text, result.text_to_clip)
    assert transforms.TEMPERATURE == 500


def test_dual_softmax_of_long_embeddings_does_not_overflow(sims):
    result = transforms.dual_softmax(sims * 1e4, COUNTS).text_to_clip
    assert np.isfinite(result).all()
    np.testing.assert_allclose(COUNTS @ result, 1)


def test_dual_softmax_in_single_precision_has_coarse_steps():
    sims = np.linspace(0.2, 0.3, 2_000).astype(np.float32).reshape(2, 1_000)
    exact = transforms.dual_softmax(sims, np.array([5_000, 5_000])).text_to_clip
    single = transforms.dual_softmax(sims, np.array([5_000, 5_000]), dtype=np.float32).text_to_clip
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, exact, rtol=1e-6)
    assert len(np.unique(exact[0])) == 1_000
    assert len(np.unique(single[0])) < 1_000


def test_csls_follows_the_paper(sims):
    result = transforms.csls(sims, COUNTS, n_neighbours=3)
    for caption in range(5):
        for clip in range(11):
            near_caption = np.sort(sims[caption].astype(float))[-3:].mean()
            near_clip = np.sort(sims[:, clip].astype(float))[-3:].mean()
            expected = 2 * float(sims[caption, clip]) - near_caption - near_clip
            assert result.text_to_clip[caption, clip] == pytest.approx(expected, abs=1e-6)
    np.testing.assert_array_equal(result.clip_to_text, result.text_to_clip)


def test_csls_of_fewer_items_than_neighbours_takes_all(sims):
    few = transforms.csls(sims, COUNTS, n_neighbours=100).text_to_clip
    wide = sims.astype(float)
    expected = 2 * wide - wide.mean(axis=1, keepdims=True) - wide.mean(axis=0)
    np.testing.assert_allclose(few, expected, atol=1e-6)


def brute_force_qb_norm(sims, bank, beta, n_activated):
    """Order of items of each query by the dynamic inverted softmax of the paper."""
    activated = {item for row in bank for item in np.argsort(-row)[:n_activated]}
    orders = []
    for row in sims:
        scores = row
        if np.argmax(row) in activated:
            scores = [
                np.exp(beta * value) / sum(np.exp(beta * other[item]) for other in bank)
                for item, value in enumerate(row)
            ]
        orders.append(np.argsort(-np.asarray(scores), kind="stable"))
    return orders


@pytest.mark.parametrize("n_activated", [1, 2])
def test_qb_norm_follows_the_paper(sims, n_activated):
    rng = np.random.default_rng(1)
    captions, clips = rng.uniform(-1, 1, (4, 11)), rng.uniform(-1, 1, (5, 3))
    result = transforms.qb_norm(sims, COUNTS, captions, clips, n_activated=n_activated)
    wide = sims.astype(float)
    to_clips = brute_force_qb_norm(wide, captions, 20, n_activated)
    to_texts = brute_force_qb_norm(wide.T, clips.T, 20, n_activated)
    np.testing.assert_array_equal(ranking.order(result.text_to_clip), to_clips)
    np.testing.assert_array_equal(ranking.order(result.clip_to_text.T), to_texts)
    plain = ranking.order(wide)
    changed = (plain != to_clips).any(axis=1)
    assert changed.any() and not changed.all(), "the case must have queries with and without a hub first"


def test_qb_norm_without_a_bank_takes_the_queries(sims):
    with_itself = transforms.qb_norm(sims, COUNTS, sims, sims)
    without = transforms.qb_norm(sims, COUNTS)
    np.testing.assert_array_equal(without.text_to_clip, with_itself.text_to_clip)
    np.testing.assert_array_equal(without.clip_to_text, with_itself.clip_to_text)


def test_qb_norm_pushes_down_a_hub():
    """A clip that all captions rank first, though each has a clip of its own."""
    sims = np.full((6, 7), 0.1)
    sims[:, :6] += 0.7 * np.eye(6)
    sims[:, 6] = 0.85
    assert (sims.argmax(axis=1) == 6).all()
    for name in ("csls", "qb-norm"):
        result = transforms.TRANSFORMS[name](sims, np.ones(6, int))
        np.testing.assert_array_equal(result.text_to_clip.argmax(axis=1), np.arange(6), err_msg=name)


@pytest.mark.parametrize("name", transforms.TRANSFORMS)
def test_blocks_give_the_same_numbers(name, sims, monkeypatch):
    whole = transforms.TRANSFORMS[name](sims, COUNTS)
    monkeypatch.setattr(blocks, "CELLS_PER_BLOCK", 22)
    parts = transforms.TRANSFORMS[name](sims, COUNTS)
    np.testing.assert_allclose(parts.text_to_clip, whole.text_to_clip, rtol=1e-12)
    np.testing.assert_allclose(parts.clip_to_text, whole.clip_to_text, rtol=1e-12)


def test_untouched_similarities_are_the_same(sims):
    assert transforms.TRANSFORMS["none"](sims, COUNTS).text_to_clip is sims
