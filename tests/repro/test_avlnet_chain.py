"""From one's own videos to retrieval by an AVLnet trained on them, by `dvc repro` alone."""

import json
import re

import pytest
import yaml
from filled.weights import write_weights

FEATURES = {"corpus": "mine", "sound": "avlnet-spectrogram", "flat": "resnet152", "moving": "resnet152"}
TRAINING = """corpus: mine
moving: resnet152
evaluate_on: videos
dim: 32
sound_widths: [8, 8, 16, 16, 32]
max_frames: 320
batch_size: 4
epochs: 3
lr: 0.001
"""
ENCODER = """family: avlnet
checkpoint: data/trainings/mine-small/model.pth
moving: resnet152
max_frames: 320
"""
EXPERIMENT = """corpus: mine
encoders: [mine-avlnet]
protocol: avlnet
"""


@pytest.mark.slow
def test_own_videos_to_features_to_training_to_scores_and_report(clone):
    """The 3D features are left out (the 2D ones stand in), for their network takes too long here."""
    (clone.root / "checkpoints").mkdir(exist_ok=True)
    write_weights(clone.root / "checkpoints/resnet152-394f9c45.pth", "keys_resnet152.json")
    for folder in ("trainings", "experiments", "subsets"):
        (clone.root / f"configs/{folder}/mine").mkdir(parents=True, exist_ok=True)
    clone.write("configs/subsets/mine/videos.yaml", "where: has_video\n")
    clone.write("configs/trainings/mine/mine-small.yaml", TRAINING)
    clone.write("configs/encoders/mine-avlnet.yaml", ENCODER)
    clone.write("configs/experiments/mine/mine-avlnet.yaml", EXPERIMENT)
    params = yaml.safe_load((clone.root / "params.yaml").read_text())
    for encoder in ("avlnet-spectrogram", "resnet152"):
        params["embeddings"][f"mine-{encoder}"] = {"corpus": "mine", "encoder": encoder}
    params["trainings"]["mine-small"] = FEATURES
    model = "data/trainings/mine-small/model.pth"
    names = {"encoder": "mine-avlnet", "config": "mine-avlnet"}
    params["avlnets"]["mine-avlnet"] = {**FEATURES, **names, "checkpoint": model}
    params["avlnet_experiments"]["mine-avlnet"] = {"corpus": "mine", "encoder": "mine-avlnet"}
    clone.write("params.yaml", yaml.safe_dump(params))
    clone.run("git", "add", "-A")
    clone.run("git", "-c", "user.name=me", "-c", "user.email=me@here", "commit", "-qm", "mine")
    assert "1 training," in clone.run("hearonce", "check").stdout

    clone.repro(HEARONCE_DEVICE="cpu")
    assert {"train@mine-small", "embed_avlnet@mine-avlnet", "score_avlnet@mine-avlnet", "report"} <= set(clone.ran)
    live = json.loads((clone.root / "data/trainings/mine-small/live/metrics.json").read_text())
    scored = json.loads((clone.root / "data/results/mine-avlnet/metrics.json").read_text())
    for direction, values in scored.items():  # the same network on the same clips, embedded and scored by other code
        assert {name: values[name] for name in ("R@1", "MedR")} == {
            name: live["evaluation"][direction][name] for name in ("R@1", "MedR")
        }
    assert "mine-avlnet" in (clone.root / "data/report/index.html").read_text()

    assert clone.repro(HEARONCE_DEVICE="cpu").ran == []
    changed = "configs/trainings/mine/mine-small.yaml:lr=0.002"
    output = clone.run("dvc", "exp", "run", "-S", changed, "train@mine-small", HEARONCE_DEVICE="cpu").stdout
    assert re.findall(r"Running stage '(.*)'", output) == ["train@mine-small"]
