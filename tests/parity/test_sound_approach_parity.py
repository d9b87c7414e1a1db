"""Whole runs of audio_egovlp's run/test_epic_wavcaps.py with given embeddings, and its EgoMCQ accuracies."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from stages.score import multiple_choice
from stages.score.functional.graded import graded_scores
from stages.score.multi_instance import build, score

GOLDEN = Path(__file__).parent / "golden"
RUNS = json.loads((GOLDEN / "epic_run.json").read_text())
MCQ = json.loads((GOLDEN / "metrics.json").read_text())["egomcq"]
ROUTES = {
    "audio_nodual": (["aud"], ["cap_t"], "cosine", "none"),
    "audio_suffix_class": (["aud"], ["cap_t"], "cosine", "none"),
    "audio_dual": (["aud"], ["cap_t"], "dot", "dual-softmax"),
    "audio_dual_lowercase_false": (["aud"], ["cap_t"], "dot", "dual-softmax"),
    "both_nodual": (["vid", "aud"], ["cap_v", "cap_t"], "cosine", "none"),
}
GRADED = {
    ("clip_to_text", "nDCG"): "ndcg_vt",
    ("text_to_clip", "nDCG"): "ndcg_tv",
    ("clip_to_text", "mAP"): "map_vt",
    ("text_to_clip", "mAP"): "map_tv",
}


@pytest.fixture(scope="module")
def arrays():
    with np.load(GOLDEN / "epic_run.npz") as stored:
        return dict(stored)


def run(arrays, name):
    clips, captions, product, transform = ROUTES[name]
    of_clips = [arrays[one][arrays["lab"]] for one in captions]
    task = build([arrays[one] for one in clips], of_clips, arrays["order"], arrays["rel"], product=product)
    return score(task, transform)


@pytest.mark.parametrize("name", ROUTES)
def test_means_of_average_precision_and_ndcg(arrays, name):
    values = run(arrays, name).values()
    for (direction, metric), theirs in GRADED.items():
        assert values[direction][metric] == pytest.approx(RUNS[name][theirs], abs=1e-9), theirs
    for metric in ("nDCG", "mAP"):
        printed = re.search(rf"{metric}: VT:\S+ TV:\S+ AVG:(\S+)", RUNS[name]["text"])
        assert round(values["average"][metric], 3) == float(printed[1])


@pytest.mark.parametrize("name", ROUTES)
def test_the_similarities_it_ranked_score_the_same(arrays, name):
    sims, relevancy = arrays[f"{name}_S"], arrays["rel"]
    for key, one, relevant in (("vt", sims, relevancy), ("tv", sims.T, relevancy.T)):
        scores = graded_scores(one, relevant)
        assert np.mean(scores.ndcg) == pytest.approx(RUNS[name][f"ndcg_{key}"], abs=1e-9)
        assert np.mean(scores.average_precision) == pytest.approx(RUNS[name][f"map_{key}"], abs=1e-9)


@pytest.mark.parametrize("name", [name for name in ROUTES if name != "both_nodual"])
def test_ranks_over_all_clips_captions(arrays, name):
    """With repeated captions: mean of tied places for clips, the first one for captions."""
    values = run(arrays, name).values()
    for direction, theirs in (("clip_to_text", "V2T"), ("text_to_clip", "T2V")):
        line = re.search(rf"{theirs} (R@1: .*)", RUNS[name]["text"])[1]
        printed = dict(part.split(": ") for part in line.split(", "))
        for metric, label in (
            ("R@1", "R@1"), ("R@5", "R@5"), ("R@10", "R@10"), ("MedR", "R@MedR"), ("MeanR", "R@MeanR"),
        ):  # fmt: skip
            assert values[direction][metric] == pytest.approx(float(printed[label]), abs=1e-9), label


@pytest.mark.parametrize("name", ["audio_nodual", "audio_dual"])
def test_classes(arrays, name):
    classes = [f"caption {label}" for label in arrays["lab"]]
    ours = run(arrays, name).by_class(classes)
    blocks = re.findall(
        r"For level (.*) there are (\d+) aud examples.\nnDCG: (.*)\nmAP: (.*)\n", RUNS[name]["text"]
    )  # fmt: skip
    assert len(blocks) == len(ours) == 14
    for level, count, *lines in blocks:
        assert classes.count(level) == int(count)
        for metric, line in zip(("nDCG", "mAP"), lines, strict=True):
            printed = [float(part.split(":")[1]) for part in line.split()]
            directions = ("clip_to_text", "text_to_clip", "average")
            assert [ours[level][one][metric] for one in directions] == pytest.approx(printed, abs=5.01e-4)


@pytest.mark.parametrize("naming", ["audio-egovlp", "egovlp"])
def test_multiple_choice_accuracy(naming):
    with np.load(GOLDEN / "metrics_egovlp.npz") as stored:
        sims, answers, numbers = stored["mcq_pred"][:, 0], stored["mcq_label"], stored["mcq_type"]
    types = np.where(numbers == 1, "inter", "intra")
    hits = multiple_choice.correct(sims, answers)
    expected = {"audio-egovlp": "audio_egovlp", "egovlp": "EgoVLP"}[naming]
    assert multiple_choice.accuracy(hits, types, naming) == pytest.approx(MCQ[expected], abs=1e-9)
    if naming == "audio-egovlp":
        only = types == "intra"
        found = multiple_choice.accuracy(hits[only], types[only], naming)
        assert found == pytest.approx(MCQ["audio_egovlp_only_type2"], abs=1e-9)
