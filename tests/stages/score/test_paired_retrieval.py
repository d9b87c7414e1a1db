import numpy as np

from stages.score.paired_retrieval import scored
from stages.score.retrieval import rank_rows


def both_directions(sims, paired, back=None):
    ids = [f"id {i}" for i in range(max(sims.shape))]
    back = sims if back is None else back
    forward, backward = rank_rows(sims, paired), rank_rows(np.ascontiguousarray(back.T), paired.T)
    return scored(forward, ids), scored(backward, ids)


def test_a_perfect_matrix_scores_perfectly():
    for one in both_directions(np.eye(6, dtype=np.float32), np.eye(6, dtype=bool)):
        values = one.values
        assert values["R@1"] == 100.0 and values["MedR"] == 1.0 and values["mAP"] == 1.0 and values["nDCG"] == 1.0


def test_several_captions_of_a_clip_and_several_clips_of_a_caption():
    sims = np.array([[0.9, 0.1, 0.2], [0.1, 0.8, 0.9], [0.3, 0.2, 0.1]], np.float32)
    paired = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 1]], bool)
    to_clip, to_text = both_directions(sims, paired)
    assert to_clip.ranks().tolist() == [1.0, 2.0, 1.0]
    assert to_text.ranks().tolist() == [1.0, 1.0, 3.0]


def test_clips_and_captions_without_a_partner_are_items_only():
    sims = np.array([[0.1, 0.9], [0.5, 0.5]], np.float32)
    paired = np.array([[1, 0], [0, 0]], bool)
    for one in both_directions(sims, paired):
        assert one.queries["queries"].ids == ["id 0"]
        assert one.n_items == 2


def test_each_direction_ranks_by_its_own_similarities():
    paired = np.eye(3, dtype=bool)
    good, bad = np.eye(3, dtype=np.float32), -np.eye(3, dtype=np.float32)
    to_clip, to_text = both_directions(good, paired, bad)
    assert to_clip.values["R@1"] == 100.0
    assert to_text.values["MeanR"] == 3.0
