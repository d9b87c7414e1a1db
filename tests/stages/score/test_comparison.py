"""Two experiments over the same queries."""

import numpy as np
import polars as pl
import pytest

from cache import tables
from stages.score.compare import Numbers, compared, unmatched
from stages.score.functional.uncertainty import paired_permutation_test

N_CLIPS, N_SENTENCES = 40, 25


def rows(direction, kind, ids, **columns):
    where = {"experiment": "any", "direction": direction, "kind": kind}
    given = {name: columns.get(name, np.full(len(ids), np.nan)) for name in tables.QUERIES if name not in where}
    given["query_id"] = list(ids)
    return pl.DataFrame(
        {**{key: [value] * len(ids) for key, value in where.items()}, **given}, schema=dict(tables.QUERIES)
    )


def numbers(seed, clips=range(N_CLIPS), shuffled=False):
    random = np.random.default_rng(seed)
    clips = [f"clip {one}" for one in clips]
    sentences = [f"sentence {one}" for one in range(N_SENTENCES)]
    ndcg = random.random(len(sentences))
    ndcg[seed] = np.nan
    queries = pl.concat(
        [
            rows(
                "clip_to_text",
                "clips",
                clips,
                rank=random.integers(1, 9, len(clips)).astype(float),
                average_precision=random.random(len(clips)),
            ),
            rows("text_to_clip", "sentences", sentences, average_precision=random.random(len(sentences)), ndcg=ndcg),
            rows("text_to_clip", "captions of clips", clips, rank=random.integers(1, 9, len(clips)).astype(float)),
        ]
    )
    if shuffled:
        queries = queries.sample(fraction=1, shuffle=True, seed=0)
    one = dict.fromkeys(("R@1", "R@5", "MedR", "mAP", "nDCG"), 0.0)
    return Numbers({"clip_to_text": one, "text_to_clip": one, "average": {"mAP": 0.0, "nDCG": 0.0}}, queries)


def column(one, direction, kind, name):
    chosen = one.queries.filter((pl.col("direction") == direction) & (pl.col("kind") == kind)).sort("query_id")
    return chosen[name].to_numpy()


def test_numbers_are_means_over_the_queries_and_p_is_that_of_the_paired_test():
    first, second = numbers(1), numbers(2)
    found = {(one.direction, one.metric): one for one in compared(first, second)}
    assert list(found) == [
        ("clip_to_text", "R@1"),
        ("clip_to_text", "R@5"),
        ("clip_to_text", "mAP"),
        ("text_to_clip", "R@1"),
        ("text_to_clip", "R@5"),
        ("text_to_clip", "mAP"),
        ("text_to_clip", "nDCG"),
        ("average", "mAP"),
    ]
    row = found["clip_to_text", "mAP"]
    columns = [column(one, "clip_to_text", "clips", "average_precision") for one in (first, second)]
    assert (row.first, row.second) == pytest.approx([one.mean() for one in columns])
    assert row.p == pytest.approx(paired_permutation_test(*columns).p, abs=0.03)
    ranks = column(first, "text_to_clip", "captions of clips", "rank")
    assert found["text_to_clip", "R@1"].first == pytest.approx(100 * np.mean(ranks == 1))
    assert found["text_to_clip", "nDCG"].n_queries == N_SENTENCES - 2


def test_an_average_weighs_both_directions_alike():
    first, second = numbers(1), numbers(2)
    found = {(one.direction, one.metric): one for one in compared(first, second)}
    halves = [found[direction, "mAP"] for direction in ("clip_to_text", "text_to_clip")]
    row = found["average", "mAP"]
    assert row.first == pytest.approx((halves[0].first + halves[1].first) / 2)
    assert row.second == pytest.approx((halves[0].second + halves[1].second) / 2)
    assert row.n_queries == N_CLIPS + N_SENTENCES


def test_queries_are_matched_by_id_whatever_their_order():
    first = numbers(1)
    assert all(row.first == row.second and row.p == 1 for row in compared(first, numbers(1, shuffled=True)))


def test_queries_of_one_alone_are_left_out_and_counted():
    first, second = numbers(1), numbers(2, clips=range(10, N_CLIPS + 3))
    row = compared(first, second)[0]
    assert row.n_queries == N_CLIPS - 10
    assert unmatched(first, second) == [
        ("clip_to_text", "clips", 10, 3),
        ("text_to_clip", "captions of clips", 10, 3),
    ]
    assert unmatched(first, first) == []


def test_a_clear_difference_is_found_and_none_is_not():
    better = numbers(1)
    worse = Numbers(better.metrics, better.queries.with_columns(average_precision=pl.col("average_precision") - 0.1))
    found = {(one.direction, one.metric): one for one in compared(better, worse)}
    row = found["average", "mAP"]
    assert row.first - row.second == pytest.approx(0.1) and row.p < 0.001
    assert found["clip_to_text", "R@1"].p == 1


def test_experiments_without_a_common_query_have_nothing_to_compare():
    assert compared(numbers(1), Numbers(numbers(1).metrics, numbers(1).queries.clear())) == []
