import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.score.paired_retrieval import DIRECTIONS, PairedRetrieval


def test_a_perfect_matrix_scores_perfectly():
    both = PairedRetrieval(np.eye(6, dtype=np.float32), np.eye(6, dtype=bool)).score(np.ones(6, bool))
    for direction in DIRECTIONS:
        values = both[direction].values
        assert values["R@1"] == 100.0 and values["MedR"] == 1.0 and values["mAP"] == 1.0 and values["nDCG"] == 1.0


def test_several_captions_of_a_clip_and_several_clips_of_a_caption():
    sims = np.array([[0.9, 0.1, 0.2], [0.1, 0.8, 0.9], [0.3, 0.2, 0.1]], np.float32)
    paired = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 1]], bool)
    both = PairedRetrieval(sims, paired).score(np.ones(3, bool))
    assert both["text_to_clip"].ranks.tolist() == [1.0, 2.0, 1.0]
    assert both["text_to_clip"].n_relevant.tolist() == [1, 1, 2]
    assert both["clip_to_text"].ranks.tolist() == [1.0, 1.0, 3.0]


def test_clips_and_captions_without_a_partner_are_items_or_nothing():
    sims = np.array([[0.1, 0.9], [0.5, 0.5]], np.float32)
    paired = np.array([[1, 0], [0, 0]], bool)
    both = PairedRetrieval(sims, paired).score(np.ones(2, bool))
    assert both["text_to_clip"].queries.tolist() == [0]
    assert both["text_to_clip"].n_items == 2
    assert both["clip_to_text"].queries.tolist() == [0]
    assert both["clip_to_text"].n_items == 1


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 12), st.integers(2, 12))
def test_a_subset_scores_as_the_sliced_matrix_does(seed, n_captions, n_clips):
    random = np.random.default_rng(seed)
    sims = random.integers(0, 5, (n_captions, n_clips)).astype(np.float32)
    paired = random.random((n_captions, n_clips)) < 0.3
    clips = random.random(n_clips) < 0.6
    clips[0] = True
    captions = paired[:, clips].any(axis=1)
    part = PairedRetrieval(sims, paired).score(clips)
    if not captions.any():
        assert len(part["text_to_clip"].queries) == 0
        return
    whole = PairedRetrieval(sims[np.ix_(captions, clips)], paired[np.ix_(captions, clips)]).score(
        np.ones(int(clips.sum()), bool)
    )
    for direction in DIRECTIONS:
        np.testing.assert_array_equal(part[direction].ranks, whole[direction].ranks)
        np.testing.assert_allclose(part[direction].average_precision, whole[direction].average_precision)
        np.testing.assert_allclose(part[direction].ndcg, whole[direction].ndcg)
