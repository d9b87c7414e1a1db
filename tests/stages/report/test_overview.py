"""Tables of many experiments."""

import math

import numpy as np
import pytest

from stages.report.overview import overviews
from stages.report.results import ExperimentResult


def instances(name, value, **changes):
    row = {"mAP": value, "nDCG": value / 2, "R@1": 1.0, "n_queries": 5}
    metrics = {
        "low": {"average": {"mAP": value / 10, "nDCG": value / 20}},
        "all": {"average": {"mAP": value, "nDCG": value / 2}, "clip_to_text": row, "text_to_clip": row},
    }
    settings = {"corpus": "kitchens", "encoders": ["e"], "caption_source": "given", "protocol": "multi-instance"}
    return ExperimentResult(**{"name": name, "metrics": metrics, **settings, **changes})


def test_the_whole_has_all_directions_and_subsets_the_headline():
    whole, subsets = overviews([instances("a", 0.5)])
    assert [(one.group, one.label) for one in whole.columns] == [
        (direction, metric) for direction in ("Text → clip", "Clip → text", "Average") for metric in ("mAP", "nDCG")
    ]
    assert [(one.subset, one.direction, one.label) for one in subsets.columns] == [
        ("low", "average", "mAP"),
        ("low", "average", "nDCG"),
    ]
    assert [cell.value for cell in subsets.rows[0].cells] == [0.05, 0.025]
    assert (whole.of_subsets, subsets.of_subsets, whole.metric) == (False, True, "")
    assert [len(group) for group in whole.groups] == [2, 2, 2]


def test_a_chosen_subset_alone_is_one_wide_table():
    (only,) = overviews([instances("a", 0.5)], "low")
    assert [(one.subset, one.direction, one.metric) for one in only.columns] == [
        ("low", "average", "mAP"),
        ("low", "average", "nDCG"),
    ]
    assert list(overviews([instances("a", 0.5)], "unknown")) == []


def test_multiple_choice_is_judged_by_accuracy_in_both_groups():
    metrics = {one: {"intra_video": {"accuracy": 30.0}, "inter_video": {"accuracy": 50.0}} for one in ("all", "high")}
    result = instances("a", 0.0, protocol="multiple-choice", metrics=metrics)
    whole, subsets = overviews([result])
    assert [(one.group, one.label) for one in whole.columns] == [
        ("Inter-video", "accuracy"),
        ("Intra-video", "accuracy"),
    ]
    assert [(one.group, one.label) for one in subsets.columns] == [("high", "Inter-video"), ("high", "Intra-video")]
    assert subsets.metric == "accuracy"


def test_variants_of_avlnet_have_tables_of_their_own_with_the_published_direction_first():
    def result(name, first, second, value, **changes):
        row = {"R@1": value, "R@5": value, "R@10": value, "MedR": 2.0}
        metrics = {one: {second: row, first: row} for one in ("all", "val")}
        return instances(name, 0.0, protocol="avlnet", metrics=metrics, **changes)

    zero_shot = result("zero-shot", "sound_to_picture", "picture_to_sound", 10.0)
    published = {"val": {"sound_to_picture": {"R@1": 33.0}}}
    tuned = result("tuned", "sound_to_picture", "picture_to_sound", 30.0, paper=published)
    fused = result("fused", "sound_text_to_picture", "picture_to_sound_text", 50.0)
    whole, subsets, whole_fused, subsets_fused = overviews([zero_shot, fused, tuned])
    assert [row.name for row in whole.rows] == ["zero-shot", "tuned"]
    assert [row.name for row in whole_fused.rows] == ["fused"]
    assert [one.group for one in whole.columns][::4] == ["Audio → video", "Video → audio"]
    assert [one.group for one in whole_fused.columns][::4] == ["Text + audio → video", "Video → text + audio"]
    assert [(one.subset, one.direction) for one in subsets_fused.columns] == [("val", "sound_text_to_picture")]
    assert [cell.value for cell in subsets.rows[1].cells] == [30.0, 30.0]
    assert subsets.rows[1].cells[0].paper == 33.0 and subsets.rows[0].cells[0].paper is None


def test_seeds_share_a_row_of_mean_and_sample_deviation():
    values = [0.1, 0.2, 0.6]
    seeds = [instances(f"seed {n}", value, seeds_of="tuned") for n, value in enumerate(values)]
    whole, subsets = overviews([seeds[0], instances("alone", 0.4), *seeds[1:]])
    assert [row.name for row in whole.rows] == ["tuned", "alone"]
    cell = whole.rows[0].cells[0]
    assert (cell.value, cell.deviation, cell.n_seeds) == pytest.approx((0.3, np.std(values, ddof=1), 3))
    assert subsets.rows[0].cells[0].value == pytest.approx(0.03)
    assert whole.rows[1].cells[0].deviation is None
    assert whole.has_seeds


def test_one_seed_and_missing_numbers_have_no_deviation():
    lacking = instances("b", 0.5, seeds_of="tuned", metrics={"all": {"average": {"mAP": float("nan")}}})
    whole, _ = overviews([instances("a", 0.5, seeds_of="tuned"), lacking])
    cell = whole.rows[0].cells[-2]
    assert (cell.value, cell.deviation, cell.n_seeds) == (0.5, None, 1)
    (alone,) = overviews([lacking])
    assert math.isnan(alone.rows[0].cells[0].value) and alone.rows[0].cells[0].n_seeds == 0


def test_intervals_paper_and_chance_come_along():
    given = {
        "intervals": {"all": {"average": {"mAP": (0.4, 0.6)}}},
        "paper": {"all": {"average": {"mAP": 0.3}}},
        "chance": {"all": {"average": {"mAP": 0.01}}},
    }
    whole, subsets = overviews([instances("a", 0.5, **given)])
    place = [(one.direction, one.metric) for one in whole.columns].index(("average", "mAP"))
    assert (whole.rows[0].cells[place].interval, whole.rows[0].cells[place].paper) == ((0.4, 0.6), 0.3)
    assert whole.chance[place] == 0.01 and whole.has_chance and not subsets.has_chance
    assert whole.has_paper and not subsets.has_paper


def test_the_best_is_judged_as_it_is_written_and_by_its_better_end():
    whole, _ = overviews([instances("a", 0.5), instances("b", 0.5001), instances("c", 0.3)])
    assert whole.best(0) == {0, 1}
    ranks = [
        instances(name, 0, protocol="paired-retrieval", metrics={"all": {"text_to_clip": {"MedR": value}}})
        for name, value in (("a", 3.0), ("b", 2.0), ("c", float("nan")))
    ]
    (table,) = overviews(ranks)
    assert table.best(0) == {1}
    (alone,) = overviews(ranks[:1])
    assert alone.best(0) == set()


def test_corpora_and_protocols_have_tables_of_their_own():
    results = [instances("a", 0.5), instances("b", 0.5, corpus="other"), instances("c", 0.5)]
    assert [(table.corpus, len(table.rows)) for table in overviews(results)] == [
        ("kitchens", 2),
        ("kitchens", 2),
        ("other", 1),
        ("other", 1),
    ]
