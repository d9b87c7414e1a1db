"""Scores of audio_egovlp's model/metric.py on stored matrices (tests/parity/golden)."""

import json
from pathlib import Path

import numpy as np
import pytest

from stages.score import metrics, ranking

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
    ("expected", "metric", "relevancy", "turn"),
    [
        ("ndcg_v_sim", metrics.ndcg, "rel", False),
        ("ndcg_t_sim", metrics.ndcg, "rel", True),
        ("map_v_sim", metrics.average_precision, "rel", False),
        ("map_t_sim", metrics.average_precision, "rel", True),
        ("map_v_rel0", metrics.average_precision, "rel0", False),
    ],
)
def test_average_precision_and_ndcg(golden, expected, metric, relevancy, turn):
    sims, relevancy = golden["rel_sim"], golden[relevancy]
    if turn:
        sims, relevancy = sims.T, relevancy.T
    np.testing.assert_allclose(metric(sims, relevancy), golden[expected], rtol=0, atol=1e-9)
