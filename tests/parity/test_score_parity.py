"""Scores of audio_egovlp's model/metric.py on stored matrices (tests/parity/golden)."""

import json
from pathlib import Path

import numpy as np
import pytest

from stages.score.functional import metrics, ranking
from stages.score.functional.graded import graded_scores

GOLDEN = Path(__file__).parent / "golden"
RANKED = json.loads((GOLDEN / "metrics.json").read_text())["egovlp_ret"]
NAMES = {"R@1": "R1", "R@5": "R5", "R@10": "R10", "R@50": "R50", "MedR": "MedR", "MeanR": "MeanR"}


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "metrics_egovlp.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("case", RANKED)
def test_ranks_and_recalls(golden, case):
    """Text to video breaks ties in the query's favour; video to text averages them."""
    name, direction = case.split("/")
    sims = golden[f"sim_{name}"]
    n_texts, n_videos = sims.shape
    relevant = np.arange(n_texts)[:, None] // (n_texts // n_videos) == np.arange(n_videos)
    if direction == "t2v":
        ranks = ranking.ranks_of_best(sims, relevant, "optimistic")
    else:
        ranks = ranking.ranks_of_best(sims.T, relevant.T, "mean")
    values = metrics.retrieval_metrics(ranks, ks=(1, 5, 10, 50))
    for ours, theirs in NAMES.items():
        assert values[ours] == pytest.approx(RANKED[case][theirs], abs=1e-9), ours
    recalls = [values["R@1"], values["R@5"], values["R@10"]]
    assert np.prod(recalls) ** (1 / 3) == pytest.approx(RANKED[case]["geometric_mean_R1-R5-R10"], abs=1e-9)


@pytest.mark.parametrize(
    ("expected", "relevancy", "turn"),
    [("{}_v_sim", "rel", False), ("{}_t_sim", "rel", True), ("{}_v_rel0", "rel0", False)],
)
def test_average_precision_and_ndcg(golden, expected, relevancy, turn):
    """The matrices are not square, one has clips and captions without anything relevant."""
    sims, relevancy = golden["rel_sim"], golden[relevancy]
    if turn:
        sims, relevancy = sims.T, relevancy.T
    scores = graded_scores(sims, relevancy)
    np.testing.assert_allclose(scores.average_precision, golden[expected.format("map")], rtol=0, atol=1e-9)
    if expected.format("ndcg") in golden:
        np.testing.assert_allclose(scores.ndcg, golden[expected.format("ndcg")], rtol=0, atol=1e-9)
