"""Numbers of torchmetrics and of LAION-CLAP's own zero-shot evaluation (made by `make_zero_shot.py`)."""

import json
from pathlib import Path

import numpy as np
import pytest
from class_samples import CORPUS, write_rows, write_tables

from pipeline.config.classes import caption_id
from pipeline.config.experiments import ExperimentConfig
from stages.score.experiment import open_experiment

GOLDEN = Path(__file__).parent / "golden"
EXPECTED = json.loads((GOLDEN / "zero_shot.json").read_text())


@pytest.fixture
def score(project):
    with np.load(GOLDEN / "zero_shot.npz") as stored:
        golden = dict(stored)
    names = [f"class {k}" for k in range(len(golden["texts"]))]
    ids = [f"{k}.wav" for k in range(len(golden["clips"]))]

    def scored(members):
        of_clip = {one: [names[k] for k in np.flatnonzero(own)] for one, own in zip(ids, members, strict=True)}
        write_tables(names, of_clip)
        texts = dict(zip(map(caption_id, names), golden["texts"], strict=True))
        write_rows("encoder", dict(zip(ids, golden["clips"], strict=True)), texts)
        options = {"corpus": CORPUS, "encoders": ["encoder"], "captions": "labels"}
        config = ExperimentConfig(name="one", protocol="zero-shot-classification", **options)
        return open_experiment(config).score(), names

    return lambda several: scored(golden["several"] if several else np.eye(len(names), dtype=bool)[golden["labels"]])


def test_one_class_a_clip(score):
    found, names = score(several=False)
    to_class, to_clip = found["clip_to_class"], found["class_to_clip"]
    expected, laion = EXPECTED["torchmetrics"]["one"], EXPECTED["laion_clap"]
    for name in ("top-1", "top-5", "macro top-1"):
        assert to_class.values[name] == pytest.approx(100 * expected[name], abs=1e-9), name
    assert to_clip.values["mAP"] == pytest.approx(expected["mAP"], abs=1e-9)
    of_class = [to_class.classes[name]["top-1"] / 100 for name in names]
    np.testing.assert_allclose(of_class, expected["of classes"], rtol=0, atol=1e-9)
    np.testing.assert_allclose([to_clip.classes[name]["mAP"] for name in names], expected["AP"], rtol=0, atol=1e-9)
    for ours, theirs in (("top-1", "R@1"), ("top-5", "R@5")):
        assert to_class.values[ours] == pytest.approx(100 * laion[theirs], abs=1e-9), ours
    assert to_class.values["mAP@10"] == pytest.approx(laion["mAP@10"], abs=1e-9)
    assert to_class.values["MeanR"] == pytest.approx(laion["mean_rank"], abs=1e-9)
    assert np.floor(to_class.values["MedR"]) == laion["median_rank"]  # theirs is rounded down


def test_several_classes_a_clip(score):
    found, names = score(several=True)
    expected = EXPECTED["torchmetrics"]["several"]
    to_clip = found["class_to_clip"]
    assert to_clip.values["mAP"] == pytest.approx(expected["mAP"], abs=1e-9)
    np.testing.assert_allclose([to_clip.classes[name]["mAP"] for name in names], expected["AP"], rtol=0, atol=1e-9)
    assert "mAP@10" not in found["clip_to_class"].values
    assert found["clip_to_class"].n_queries < to_clip.n_items  # clips without a class are no queries
