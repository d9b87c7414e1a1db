"""Full text of captions: whatever a person types is words, not syntax."""

import unicodedata

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.search.words import WordIndex, mixed

CAPTIONS = [
    ["A dog barks.", "Dogs are barking loudly."],
    ["The cat sleeps."],
    [],
    ["犬が庭で吠えている"],
    ["Ein Hündchen bellt"],
    ['"quoted" NEAR(dog) AND OR NOT *'],
    ["कुत्ता भौंकता है"],
    ["घर में कौन है"],
    ["ﾈｺが鳴く"],
]


@pytest.fixture(scope="module")
def index():
    return WordIndex(pl.Series(CAPTIONS, dtype=pl.List(pl.String)))


def best(index, query):
    scores = index.scores(query, len(CAPTIONS))
    assert scores.dtype == np.float32 and scores.min() >= 0 and scores.max() in (0, 1)
    return int(scores.argmax()) if scores.any() else None


def test_words_match_by_stem_in_any_script(index):
    assert best(index, "a barking dog") == 0 and best(index, "cats") == 1
    assert best(index, "犬") == 3 and best(index, "hundchen") == 4
    scores = index.scores("dog cat", len(CAPTIONS))
    assert scores[0] > 0 and scores[1] > 0 and scores[2] == scores[3] == 0


def test_forms_of_unicode_are_the_same_words(index):
    for form in ("NFC", "NFD"):
        assert best(index, unicodedata.normalize(form, "Hündchen")) == 4
    assert best(index, "ネコ") == 8
    scores = index.scores("कुत्ता", len(CAPTIONS))
    assert scores[6] == 1 and not scores[7], "a word of Devanagari is one word, not the consonants in it"


@given(st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_no_text_is_syntax(index, text):
    best(index, text)


def test_queries_without_a_word_score_nothing(index):
    for query in ("", "?!", '"', "NEAR(", "zzz", "* OR"):
        best(index, query)
    assert not index.scores("", len(CAPTIONS)).any() and best(index, "zzz") is None


def test_the_mean_of_both_on_one_scale():
    similarities = np.array([0.2, 0.6, -np.inf, 0.4], np.float32)
    words = np.array([1, 0, 1, 0.5], np.float32)
    assert mixed(similarities, words, 0.0).tolist() == pytest.approx([0, 1, -np.inf, 0.5])
    assert mixed(similarities, words, 1.0).tolist() == pytest.approx([1, 0, -np.inf, 0.5])
    assert mixed(similarities, words, 0.5).tolist() == pytest.approx([0.5, 0.5, -np.inf, 0.5])
