import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stages.ingest.retrieval_files import built_relevancy

classes = st.lists(st.frozensets(st.integers(0, 6), max_size=4), min_size=1, max_size=8)


def overlap(left, right):
    return len(left & right) / len(left | right) if left | right else 0.0


@given(classes, classes, st.data())
def test_it_is_the_mean_overlap_of_verbs_and_nouns(clip_nouns, sentence_nouns, data):
    verbs = st.frozensets(st.integers(0, 2), min_size=1, max_size=1)
    clip_verbs = [data.draw(verbs) for _ in clip_nouns]
    sentence_verbs = [data.draw(verbs) for _ in sentence_nouns]
    found = built_relevancy([clip_verbs, clip_nouns], [sentence_verbs, sentence_nouns])
    expected = [
        [
            (overlap(verb, other_verb) + overlap(noun, other_noun)) / 2
            for other_verb, other_noun in zip(sentence_verbs, sentence_nouns, strict=True)
        ]
        for verb, noun in zip(clip_verbs, clip_nouns, strict=True)
    ]
    np.testing.assert_array_equal(found, expected)


def test_one_kind_of_class_alone():
    found = built_relevancy([[frozenset({1}), frozenset({2})]], [[frozenset({1}), frozenset({1, 2})]])
    assert found.tolist() == [[1.0, 0.5], [0.0, 0.5]]
