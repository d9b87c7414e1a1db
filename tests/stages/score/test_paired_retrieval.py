import numpy as np

from stages.score.paired_retrieval import score
from stages.score.transforms import Directed


def both_ways(sims):
    return Directed(sims, sims)


def test_a_perfect_matrix_scores_perfectly():
    both = score(both_ways(np.eye(6, dtype=np.float32)), np.eye(6, dtype=bool))
    for one in both.values():
        values = one.values
        assert values["R@1"] == 100.0 and values["MedR"] == 1.0 and values["mAP"] == 1.0 and values["nDCG"] == 1.0


def test_several_captions_of_a_clip_and_several_clips_of_a_caption():
    sims = np.array([[0.9, 0.1, 0.2], [0.1, 0.8, 0.9], [0.3, 0.2, 0.1]], np.float32)
    paired = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 1]], bool)
    both = score(both_ways(sims), paired)
    assert both["text_to_clip"].ranks.tolist() == [1.0, 2.0, 1.0]
    assert both["clip_to_text"].ranks.tolist() == [1.0, 1.0, 3.0]


def test_clips_and_captions_without_a_partner_are_items_only():
    sims = np.array([[0.1, 0.9], [0.5, 0.5]], np.float32)
    paired = np.array([[1, 0], [0, 0]], bool)
    both = score(both_ways(sims), paired)
    assert both["text_to_clip"].queries.tolist() == [0]
    assert both["text_to_clip"].n_items == 2
    assert both["clip_to_text"].queries.tolist() == [0]
    assert both["clip_to_text"].n_items == 2


def test_each_direction_ranks_by_its_own_similarities():
    paired = np.eye(3, dtype=bool)
    good, bad = np.eye(3, dtype=np.float32), -np.eye(3, dtype=np.float32)
    both = score(Directed(good, bad), paired)
    assert both["text_to_clip"].values["R@1"] == 100.0
    assert both["clip_to_text"].values["MeanR"] == 3.0
