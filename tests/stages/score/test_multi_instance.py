"""Multi-instance retrieval over distinct captions against the full clips x clips matrix."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.score.functional import blocks
from stages.score.functional.graded import graded_scores
from stages.score.functional.ranking import ranks_of_best
from stages.score.functional.transforms import TRANSFORMS, Directed
from stages.score.multi_instance import MultiInstance, build, distinct_rows, score

FIELDS = ("average_precision", "ndcg", "ranks")


@st.composite
def corpora(draw):
    """Embeddings of clips and captions, both with repetitions, so that similarities tie."""
    n_clips, n_captions = draw(st.integers(1, 9)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    sentence_of = rng.integers(0, n_captions, n_clips)
    texts = rng.standard_normal((n_captions, 4))
    clips = rng.standard_normal((5, 4)).astype(np.float32)[rng.integers(0, 5, n_clips)]
    _, indexes = np.unique(sentence_of, return_index=True)
    indexes = rng.permutation(indexes)
    relevancy = rng.choice([0, 0, 0.25, 0.5, 1], (n_clips, len(indexes)))
    return clips, texts.astype(np.float32)[sentence_of], indexes, relevancy


def task_of(corpus, **more):
    clips, captions, indexes, relevancy = corpus
    return build([clips], [captions], indexes, relevancy, **more)


def assert_same(one, other):
    for direction in ("clip_to_text", "text_to_clip"):
        for field in FIELDS:
            np.testing.assert_array_equal(
                getattr(getattr(one, direction), field), getattr(getattr(other, direction), field), err_msg=field
            )


@given(corpus=corpora())
def test_the_matrix_of_clips_by_clips_scores_the_same(corpus):
    *_, indexes, relevancy = corpus
    task = task_of(corpus)
    whole = task.sims[task.caption_of_clip]  # the reference's sim_tot
    result = score(task)
    own = np.eye(len(whole), dtype=bool)
    np.testing.assert_array_equal(result.clip_to_text.ranks, ranks_of_best(whole.T, own, "mean"))
    np.testing.assert_array_equal(result.text_to_clip.ranks, ranks_of_best(whole, own, "optimistic"))
    by_clip = graded_scores(whole.T[:, indexes], relevancy)
    np.testing.assert_array_equal(result.clip_to_text.average_precision, by_clip.average_precision)
    by_text = graded_scores(whole[indexes], relevancy.T)
    np.testing.assert_array_equal(result.text_to_clip.ndcg, by_text.ndcg)


@given(corpus=corpora())
def test_a_subset_of_everything_is_the_whole(corpus):
    task = task_of(corpus)
    assert_same(score(task.subset(np.ones(len(corpus[0]), bool))), score(task))


@given(corpus=corpora(), seed=st.integers(0, 1000))
def test_a_subset_scores_like_a_corpus_of_its_own(corpus, seed):
    clips, captions, indexes, relevancy = corpus
    keep = np.random.default_rng(seed).random(len(clips)) < 0.6
    texts = {row.tobytes() for row in captions[keep]}
    sentences = np.array([captions[first].tobytes() in texts for first in indexes])
    kept = [row.tobytes() for row in captions[keep]]
    first = np.array([kept.index(captions[one].tobytes()) for one in indexes[sentences]], int)
    alone = build([clips[keep]], [captions[keep]], first, relevancy[keep][:, sentences]) if keep.any() else None
    part = task_of(corpus).subset(keep)
    assert part.relevancy.shape == (keep.sum(), sentences.sum())
    if alone is not None:
        assert_same(score(part), score(alone))


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_the_order_of_clips_and_sentences_changes_nothing(transform):
    rng = np.random.default_rng(0)
    sentence_of = np.concatenate([np.arange(40), rng.integers(0, 40, 80)])
    texts, clips = rng.standard_normal((40, 16)), rng.standard_normal((120, 16))
    relevancy = rng.choice([0, 0, 0, 1 / 3, 1], (120, 40))
    indexes = np.arange(40)
    before = score(build([clips], [texts[sentence_of]], indexes, relevancy), transform)
    mixed, columns = rng.permutation(120), rng.permutation(40)
    labels = sentence_of[mixed]
    first = np.array([np.flatnonzero(labels == column)[0] for column in columns])
    after = score(
        build([clips[mixed]], [texts[labels]], first, relevancy[np.ix_(mixed, columns)]),
        transform,
    )
    for field in FIELDS:
        np.testing.assert_allclose(
            getattr(after.clip_to_text, field), getattr(before.clip_to_text, field)[mixed], rtol=1e-12, err_msg=field
        )
        order = mixed if field == "ranks" else columns
        np.testing.assert_allclose(
            getattr(after.text_to_clip, field), getattr(before.text_to_clip, field)[order], rtol=1e-12, err_msg=field
        )


def test_blocks_and_threads_give_the_same_bits(monkeypatch):
    rng = np.random.default_rng(0)
    texts = rng.standard_normal((50, 8))
    sentence_of = np.concatenate([np.arange(50), rng.integers(0, 50, 61)])
    corpus = rng.standard_normal((111, 8)), texts[sentence_of], np.arange(50), rng.choice([0, 0.5, 1], (111, 50))
    whole = score(task_of(corpus))
    monkeypatch.setattr(blocks, "CELLS_PER_BLOCK", 700)
    monkeypatch.setattr(blocks, "cores", lambda: 3)
    assert_same(score(task_of(corpus)), whole)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_perfect_ranking_scores_all_there_is(transform):
    sentence_of = np.array([0, 1, 2, 1, 3])
    texts = np.eye(4)
    relevancy = np.eye(4)[sentence_of]
    task = build([texts[sentence_of]], [texts[sentence_of]], np.array([0, 1, 2, 4]), relevancy)
    values = score(task, transform).values()
    for direction in ("clip_to_text", "text_to_clip", "average"):
        assert values[direction]["mAP"] == values[direction]["nDCG"] == 1
    assert values["text_to_clip"]["R@1"] == 100
    assert values["clip_to_text"]["R@1"] == 60, "two clips share their first place with a repeated caption"
    assert values["clip_to_text"]["R@5"] == 100


def test_clips_and_sentences_without_anything_relevant():
    """Average precision 0 counts, as in the reference; nDCG nan does not, where the reference's mean is nan."""
    rng = np.random.default_rng(0)
    relevancy = np.array([[0, 0, 0], [1, 0.5, 0], [0, 1, 0]])
    texts = rng.standard_normal((3, 4))
    result = score(build([texts], [texts], np.arange(3), relevancy))
    assert result.clip_to_text.average_precision[0] == 0 and np.isnan(result.clip_to_text.ndcg[0])
    assert result.text_to_clip.average_precision[2] == 0 and np.isnan(result.text_to_clip.ndcg[2])
    values = result.values()["clip_to_text"]
    assert values["mAP"] == pytest.approx(result.clip_to_text.average_precision.sum() / 3)
    assert values["nDCG"] == pytest.approx(result.clip_to_text.ndcg[1:].mean())


def test_all_zero_embeddings_tie_everywhere():
    texts = np.eye(8, dtype=np.float32)
    result = score(build([np.zeros((8, 8))], [texts], np.arange(8), np.eye(8)))
    assert (result.clip_to_text.ranks == 4.5).all() and (result.text_to_clip.ranks == 1).all()


def test_classes_share_the_text_to_clip_mean():
    corpus = np.eye(4), np.eye(4), np.arange(4), np.array([[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 1], [0, 1, 0, 1.0]])
    result = score(task_of(corpus))
    classes = result.by_class(["b", "a", "b", "a"])
    assert list(classes) == ["b", "a"]
    for name, clips in (("b", [0, 2]), ("a", [1, 3])):
        own = result.clip_to_text.average_precision[clips].mean()
        assert classes[name]["clip_to_text"]["mAP"] == pytest.approx(own)
        assert classes[name]["text_to_clip"]["mAP"] == result.text_to_clip.average_precision.mean()
        assert classes[name]["average"]["mAP"] == pytest.approx(
            (own + result.text_to_clip.average_precision.mean()) / 2
        )


def test_distinct_rows_tells_encoders_apart():
    """Rows are equal if they are in every encoder; those asked for first come first."""
    one, two = np.array([[1.0], [2], [1], [2]]), np.array([[1.0], [1], [1], [3]])
    rows, numbers = distinct_rows([one, two], [3, 0])
    assert rows.tolist() == [3, 0, 1] and numbers.tolist() == [1, 2, 1, 0]


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(ValueError, match=r"3 clips and 2 sentences.*\(2, 3\).*\(2, 3\) \(captions, clips\)"):
        MultiInstance(np.zeros((2, 3), np.float32), np.array([0, 1, 1]), np.array([0, 1]), np.zeros((2, 3)))


def test_a_broken_embedding_is_refused():
    texts = np.eye(3)
    clips = np.array([[1, 0, 0], [np.nan, 0, 0], [0, 0, 1]])
    with pytest.raises(ValueError, match="nan"):
        score(build([clips], [texts], np.arange(3), np.eye(3)))


def test_an_unknown_transform_is_refused_and_a_function_is_taken():
    task = build([np.eye(3)], [np.eye(3)], np.arange(3), np.eye(3))
    with pytest.raises(ValueError, match=r"'softmax'; there are none, dual-softmax, csls, qb-norm"):
        score(task, "softmax")
    backwards = score(task, lambda sims, counts: Directed(-sims, -sims))
    assert (backwards.text_to_clip.ranks == 3).all()
