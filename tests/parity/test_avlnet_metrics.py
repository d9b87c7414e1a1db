"""Recall and median rank of AVLnet's metrics.py, with ties and MSR-VTT's missing clips (tests/parity/golden)."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.networks.avlnet_retrieval import both_directions
from stages.score.avlnet_retrieval import scored
from stages.score.retrieval import rank_rows

GOLDEN = Path(__file__).parent / "golden"
RECORDED = json.loads((GOLDEN / "metrics.json").read_text())["avlnet"]


@pytest.fixture(scope="module")
def similarities():
    with np.load(GOLDEN / "metrics_avlnet.npz") as stored:
        found = {name.removeprefix("sim_"): stored[name] for name in stored.files if name.startswith("sim_")}
        found["msrvtt968_float64_A@B.T"] = stored["msrvtt_A"].astype(np.float64) @ stored["msrvtt_B"].T
    return found


@pytest.mark.parametrize("case", RECORDED)
def test_metrics(similarities, case):
    name, turned, of_a_thousand = case.split("/")
    sims = similarities[name]
    count = 1000 if of_a_thousand == "msrvtt1" else None
    expected = {"R@1": "R1", "R@5": "R5", "R@10": "R10", "MedR": "MR"}
    recorded = {ours: RECORDED[case][theirs] * (1 if ours == "MedR" else 100) for ours, theirs in expected.items()}
    both = both_directions(sims, "bi", count)
    assert both["picture_to_sound" if turned == "lang1" else "sound_to_picture"] == pytest.approx(recorded)
    turned_sims = np.ascontiguousarray(sims.T if turned == "lang1" else sims)
    ranked = rank_rows(turned_sims, np.eye(len(sims), dtype=bool), graded=False)
    found = scored(ranked, [str(i) for i in range(len(sims))], "several-ranks", count)
    assert found.values == pytest.approx(recorded)
