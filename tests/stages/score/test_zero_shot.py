"""Protocol `zero-shot-classification` on embeddings that are known."""

import numpy as np
import pytest
from class_samples import CORPUS, write_rows, write_tables

from cache.errors import UserError
from pipeline.config.classes import caption_id, prompted_id
from pipeline.config.experiments import ExperimentConfig
from stages.score.experiment import open_experiment
from stages.score.functional.classification import chance_reciprocal_at, class_average_precision, reciprocal_at
from stages.score.inputs import NothingToScore

CLASSES = ["bark", "rain", "siren"]
CLIPS = {"a": ["bark"], "b": ["bark"], "c": ["rain"], "d": ["rain"], "e": ["siren"], "f": ["siren"]}
AXES = np.eye(3, dtype=np.float32)


def rows(wrong=()):
    """Each clip lies on the axis of its class, those of `wrong` on the next one."""
    found = {}
    for clip, own in CLIPS.items():
        axis = (CLASSES.index(own[0]) + (clip in wrong)) % 3
        found[clip] = AXES[axis] + 0.1 * AXES[(axis + 2) % 3] + 0.05 * AXES[(axis + 1) % 3]
    return found


def names(texts=AXES):
    return {caption_id(name): row for name, row in zip(CLASSES, texts, strict=True)}


def scorer(captions="labels", encoders=("one",), **options):
    return open_experiment(
        ExperimentConfig(
            name="it",
            corpus=CORPUS,
            encoders=list(encoders),
            captions=captions,
            protocol="zero-shot-classification",
            **options,
        )
    )


@pytest.fixture
def corpus(project):
    write_tables(CLASSES, CLIPS, {"two": 2}, {"fold-1": ["a", "c", "e"], "fold-2": ["b", "d", "f"]})
    return project


def test_accuracies_of_clips_classes_and_folds(corpus):
    write_rows("one", rows(wrong={"a", "b", "c"}), names())
    found = scorer().score()
    to_class = found["clip_to_class"]
    assert to_class.values["top-1"] == 50 and to_class.values["macro top-1"] == 50 and to_class.values["top-5"] == 100
    assert {name: one["top-1"] for name, one in to_class.classes.items()} == {"bark": 0, "rain": 50, "siren": 100}
    # the class next to the right one is off by 0.1, the other by 0.05
    assert to_class.queries["clips"].rank.tolist() == [2, 2, 2, 1, 1, 1]
    assert to_class.values["mAP@10"] == 0.75
    assert [to_class.chance[name] for name in ("top-1", "macro top-1")] == pytest.approx([100 / 3] * 2)
    assert to_class.chance["mAP@10"] == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    low, high = to_class.intervals["top-1"]
    assert low < 50 < high and set(to_class.intervals) == set(to_class.values)
    folds = found["folds"].values
    assert folds["top-1"] == 50 and folds["top-1 SD"] == pytest.approx(np.std([100 / 3, 200 / 3], ddof=1))
    shuffled = np.random.default_rng(0).permuted(np.tile(np.arange(6.0), (4000, 1)), axis=1)
    precision = class_average_precision(shuffled, np.tile(np.arange(6) < 2, (4000, 1)))
    assert found["class_to_clip"].chance["mAP"] == pytest.approx(precision.mean(), abs=0.02)


def test_a_class_is_the_mean_of_its_unit_prompts(corpus):
    random = np.random.default_rng(0)
    texts = {prompted_id("two", k, name): random.normal(size=5) * 10**k for k in (0, 1) for name in CLASSES}
    texts |= names(random.normal(size=(3, 5)))
    clips = {clip: random.normal(size=5) for clip in CLIPS}
    write_rows("one", clips, texts)
    own = [[texts[prompted_id("two", k, name)].astype(np.float32) for k in (0, 1)] for name in CLASSES]
    centres = np.array([np.mean([one / np.linalg.norm(one) for one in both], axis=0) for both in own])
    sims = centres / np.linalg.norm(centres, axis=1, keepdims=True) @ np.stack(list(clips.values())).T
    sims /= np.linalg.norm(np.stack(list(clips.values())), axis=1)
    expected = np.array([CLASSES[k] in CLIPS[clip] for k, clip in zip(sims.argmax(axis=0), CLIPS, strict=True)])
    found = scorer("labels@two").score()["clip_to_class"]
    assert ((found.queries["clips"].rank == 1) == expected).all()
    np.testing.assert_allclose(scorer("labels@two")._sims, sims, atol=1e-6)


def test_only_the_classes_of_the_subset_compete(corpus):
    write_rows("one", rows(wrong={"a"}), names())
    whole = scorer()
    assert whole.score()["clip_to_class"].values["top-1"] == pytest.approx(500 / 6)  # a is taken for rain
    found = whole.score({"a", "b", "e"})
    assert found["clip_to_class"].n_items == 2 and found["class_to_clip"].n_items == 3
    assert found["clip_to_class"].queries["clips"].ids == ["a", "b", "e"]
    assert found["clip_to_class"].values["top-1"] == 100
    assert set(found["class_to_clip"].classes) == {"bark", "siren"}
    with pytest.raises(NothingToScore, match="no clip of the subset"):
        whole.score({"nobody"})


def test_encoders_are_fused_each_by_its_own_texts(corpus):
    write_rows(
        "one", rows(wrong={"a", "b"}), names() | {prompted_id("two", k, n): AXES[0] for k in (0, 1) for n in CLASSES}
    )
    wide = {key: np.append(2 * row, 0) for key, row in names().items()}
    prompts = {prompted_id("two", k, name): wide[caption_id(name)] for k in (0, 1) for name in CLASSES}
    write_rows("other", {key: np.append(row, 0) for key, row in rows(wrong={"b", "c"}).items()}, wide | prompts)
    both = ["labels", "labels@two"]
    assert scorer().score()["clip_to_class"].values["top-1"] == pytest.approx(400 / 6)
    one_sided = scorer(both, ("one", "other"), weights=[1, 3]).score()["clip_to_class"]
    assert one_sided.queries["clips"].rank.tolist() == [1, 2, 2, 1, 1, 1]
    assert scorer("labels", transform="csls").score()["clip_to_class"].n_items == 3


def test_equal_texts_share_their_place(corpus):
    write_rows("one", rows(), names(np.stack([AXES[0], AXES[0], AXES[2]])))
    found = scorer().score()["clip_to_class"]
    assert found.queries["clips"].rank[:2].tolist() == [1.5, 1.5]  # never exactly first
    assert found.values["top-1"] == pytest.approx(200 / 6)


def test_a_class_without_an_embedded_text_is_counted_as_missing(corpus):
    texts = {key: row for key, row in names().items() if key != caption_id("siren")}
    write_rows("one", {clip: row for clip, row in rows().items() if clip != "a"}, texts)
    found = scorer()
    assert found.n_clips_missing == 3 and found.score()["clip_to_class"].n_queries == 3


def test_examples_and_heatmap_name_clips_and_classes(corpus):
    write_rows("one", rows(wrong={"a"}), names())
    whole = scorer()
    shown = whole.examples(whole.score())
    worst = shown[-1]
    assert worst["kind"] == "worst" and worst["expected"] == "a" and worst["caption"] == "bark" and worst["rank"] == 2
    assert [one["clip"] for one in worst["top"]][:2] == ["rain", "bark"] and worst["top"][1]["is_match"]
    drawn = whole.heatmap()
    assert drawn["captions"].tolist() == CLASSES and drawn["sims"].shape == (3, 3)


def test_what_cannot_be_scored_is_said(corpus, monkeypatch):
    write_rows("one", rows(), names())
    with pytest.raises(UserError, match="caption source 'given' does not hold: name `labels`"):
        scorer("given")
    with pytest.raises(UserError, match="has no caption source 'labels@three'"):
        scorer("labels@three")
    monkeypatch.setenv("HEARONCE_SCORE_MEMORY", "1e-8")
    with pytest.raises(UserError, match="Classification of 6 clips by 3 classes needs"):
        scorer()


def test_equals_are_one_threshold_of_average_precision():
    right = np.array([[True, False, False, True]])
    assert class_average_precision(np.array([[0.5, 0.5, 0.1, 0.1]]), right)[0] == pytest.approx(0.5)
    assert class_average_precision(np.array([[0.5, 0.4, 0.1, 0.3]]), right)[0] == pytest.approx((1 + 2 / 3) / 2)
    assert np.isnan(class_average_precision(np.ones((1, 3)), np.zeros((1, 3), bool)))[0]


@pytest.mark.parametrize("counts", [[1], [2, 3]])
def test_chance_of_the_reciprocal_rank_is_the_mean_of_random_rankings(counts):
    random, n = np.random.default_rng(0), 14
    draws = [reciprocal_at(random.permutation(n)[:count].min(keepdims=True) + 1.0, 10) for count in counts * 4000]
    assert chance_reciprocal_at(np.array(counts), n, 10) == pytest.approx(float(np.mean(draws)), abs=0.02)
