"""Multiple choice against the formulas, one question at a time."""

import numpy as np
import pytest

from stages.score import multiple_choice
from stages.score.functional import blocks


@pytest.fixture
def questions():
    rng = np.random.default_rng(0)
    texts, clips = rng.standard_normal((7, 12), np.float32), rng.standard_normal((30, 12), np.float32)
    return texts, clips, rng.integers(0, 7, 40), rng.integers(0, 30, (40, 5))


def test_similarities_are_cosines(questions):
    texts, clips, text_of, options = questions
    clips[3] = 0
    result = multiple_choice.option_similarities(*questions)
    assert result.dtype == np.float32
    for question in range(40):
        text = texts[text_of[question]].astype(float)
        for place, clip in enumerate(clips[options[question]].astype(float)):
            length = max(np.linalg.norm(text) * np.linalg.norm(clip), 1e-8)
            assert result[question, place] == pytest.approx(text @ clip / length, abs=1e-6)


def test_equal_options_tie_exactly_and_blocks_change_no_bit(questions, monkeypatch):
    questions[3][:, 4] = questions[3][:, 1]
    whole = multiple_choice.option_similarities(*questions)
    np.testing.assert_array_equal(whole[:, 4], whole[:, 1])
    monkeypatch.setattr(blocks, "CELLS_PER_BLOCK", 5 * 12 * 3)
    np.testing.assert_array_equal(multiple_choice.option_similarities(*questions), whole)


def test_the_first_of_equals_is_chosen():
    sims = np.array([[1, 2, 2, 0, 2], [0, 0, 0, 0, 0]])
    assert multiple_choice.correct(sims, np.array([1, 0])).all()
    assert not multiple_choice.correct(sims, np.array([2, 1])).any()


@pytest.mark.parametrize("norm", ["none", "max", "one"])
def test_mix_normalises_each_encoder_before_it_weighs(norm):
    rng = np.random.default_rng(0)
    vision, sound = rng.uniform(0.1, 1, (2, 6, 5))
    scales = {"none": lambda row: 1, "max": lambda row: np.sqrt((row**2).sum()), "one": sum}[norm]
    result = multiple_choice.mix([vision, sound], 10, norm)
    for question in range(6):
        expected = (10 * vision[question] / scales(vision[question]) + sound[question] / scales(sound[question])) / 11
        np.testing.assert_allclose(result[question], expected, rtol=1e-12)
    alone = multiple_choice.mix([sound], 10, norm)
    np.testing.assert_allclose(alone[0], sound[0] / scales(sound[0]), rtol=1e-12)


def test_all_zero_similarities_stay_zero_under_the_length():
    assert (multiple_choice.mix([np.zeros((1, 5))], norm="max") == 0).all()


def test_groups_are_called_by_their_type_or_as_the_references_do():
    hits = np.array([True, False, True, True])
    types = np.array(["inter", "inter", "intra", "intra"])
    right = {"Inter-video": 50, "Intra-video": 100}
    assert multiple_choice.accuracy(hits, types) == right
    assert multiple_choice.accuracy(hits, types, "audio-egovlp") == right
    assert multiple_choice.accuracy(hits, types, "egovlp") == {"Intra-video": 50, "Inter-video": 100}
    only = hits[2:], types[2:]
    assert multiple_choice.accuracy(*only) == {"Intra-video": 100}
    assert multiple_choice.accuracy(*only, "audio-egovlp") == {"Inter-video": 100}


def test_mistakes_are_named():
    sims = np.zeros((3, 5))
    sims[2, 4] = np.nan
    with pytest.raises(ValueError, match="question 2 hold nan"):
        multiple_choice.correct(sims, np.zeros(3, int))
    with pytest.raises(ValueError, match="question 1 sum to 0"):
        multiple_choice.mix([np.array([[1.0, 1], [1, -1]])], norm="one")
    with pytest.raises(ValueError, match=r"'two'.*none, max, one"):
        multiple_choice.mix([sims], norm="two")
    with pytest.raises(ValueError, match="not 3 encoders"):
        multiple_choice.mix([sims] * 3)
    with pytest.raises(ValueError, match="not 'both'"):
        multiple_choice.accuracy(np.ones(1, bool), np.array(["both"]))
    with pytest.raises(ValueError, match=r"'theirs'.*by-type"):
        multiple_choice.accuracy(np.ones(1, bool), np.array(["inter"]), "theirs")
