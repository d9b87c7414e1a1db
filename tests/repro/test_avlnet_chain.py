"""From one's own videos to retrieval by an AVLnet trained on them, by `dvc repro` alone."""

import json
import re
import tarfile

import pytest
import torch
import yaml
from avlnet_files import youcook
from clone import working_tree
from filled.weights import write_weights

from pipeline.checkpoints.weights import save_weights
from pipeline.config.params import Params, embedding_entry, embedding_key
from pipeline.networks.avlnet import AvlNet
from pipeline.networks.avlnet_shape import Shape

TRAINING = """corpus: mine
features_3d: features/resnet152
evaluate_on: videos
dim: 32
audio_widths: [8, 8, 16, 16, 32]
max_frames: 320
batch_size: 4
epochs: 3
lr: 0.001
"""
EXPERIMENT = """encoders: [avlnet@mine-small]
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
    clone.write("configs/experiments/mine/mine-avlnet.yaml", EXPERIMENT)
    params = yaml.safe_load((clone.root / "params.yaml").read_text())
    given = {"features/avlnet-spectrogram": "audio", "features/resnet152": "frames", "avlnet@mine-small": "features"}
    for encoder, reads in given.items():
        params["embeddings"][embedding_key("mine", encoder)] = embedding_entry("mine", encoder, reads)
    folders = ["data/tables/mine", "data/embeddings/mine/features"]
    params["trainings"]["mine-small"] = {"corpus": "mine", "reads": folders}
    clone.write("params.yaml", yaml.safe_dump(params))
    clone.run("git", "add", "-A")
    clone.run("git", "-c", "user.name=me", "-c", "user.email=me@here", "commit", "-qm", "mine")
    assert "1 training," in clone.run("hearonce", "check").stdout

    clone.repro(HEARONCE_DEVICE="cpu")
    assert {"train@mine-small", "embed@mine-small", "score@mine-all", "report"} <= set(clone.ran)
    live = json.loads((clone.root / "data/trainings/mine-small/live/metrics.json").read_text())
    scored = clone.metrics("mine-avlnet")
    for direction, values in scored.items():  # the same network on the same clips, embedded and scored by other code
        assert {name: values[name] for name in ("R@1", "MedR")} == {
            name: live["evaluation"][direction][name] for name in ("R@1", "MedR")
        }
    assert "mine-avlnet" in (clone.root / "data/report/index.html").read_text()

    assert clone.repro(HEARONCE_DEVICE="cpu").ran == []
    changed = "configs/trainings/mine/mine-small.yaml:lr=0.002"
    output = clone.run("dvc", "exp", "run", "-S", changed, "train@mine-small", HEARONCE_DEVICE="cpu").stdout
    assert re.findall(r"Running stage '(.*)'", output) == ["train@mine-small"]


@pytest.mark.slow
def test_the_published_results_by_one_command(tmp_path):
    """Archives in the README's layout -> `add` -> `dvc repro`: zero-shot, fine-tuned and from scratch, in one table."""
    data, models = tmp_path / "data", tmp_path / "AVLnet_release"
    youcook(data)
    for name in ("msrvtt_train", "msrvtt_jsfusion_test", "crosstask_clips_train", "crosstask_clips_val"):
        (data / f"{name}.pkl").write_bytes((data / "youcook_train_audio.pkl").read_bytes())
    models.mkdir()
    widths = (4, 4, 8, 8, 16)
    for variant, name in (("bi", "AVLnet"), ("tri", "AVLnet_Text_Tri"), ("fused", "AVLnet_Text_Fused")):
        torch.manual_seed(0)
        save_weights(AvlNet(Shape(variant, 8, audio_widths=widths)), models / f"{name}_release.pth")
    for folder, name in ((data, "AVLnet_release_data"), (models, "AVLnet_release_models")):
        with tarfile.open(tmp_path / f"{name}.tar.gz", "w:gz") as archive:
            archive.add(folder, folder.name)
    clone = working_tree(tmp_path / "hearonce")
    clone.write("params.yaml", "".join(f"{name}: {{}}\n" for name in Params.model_fields))
    for name in ("scratch", "finetuned"):
        path = clone.root / f"configs/trainings/youcook2/youcook2-{name}.yaml"
        small = {"dim": 8, "audio_widths": list(widths), "batch_size": 2, "epochs": 1, "max_frames": 320}
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **small}))
    said = clone.run("hearonce", "add", "youcook2", *[f"--experiments=youcook2-avlnet{one}" for one in ("", "-[fs]*")])
    assert "2 trainings, 3 experiments" in said.stdout
    assert "AVLnet_release_data --unpack" in clone.run("hearonce", "check").stdout
    names = ("AVLnet_release_data", "AVLnet_release_models")
    clone.run("hearonce", "checkpoints", "fetch", *names, "--from", str(tmp_path), "--unpack")
    assert "lack" not in clone.run("hearonce", "check").stdout
    clone.run("git", "add", "-A")
    clone.run("git", "-c", "user.name=me", "-c", "user.email=me@here", "commit", "-qm", "all")
    clone.repro(HEARONCE_DEVICE="cpu")
    assert {"train@youcook2-finetuned", "embed@youcook2-scratch", "score@youcook2-val"} <= set(clone.ran)
    values = clone.run("hearonce", "results", "--subset", "val", COLUMNS="300").stdout
    for experiment in ("youcook2-avlnet", "youcook2-avlnet-finetuned", "youcook2-avlnet-scratch"):
        assert experiment in values
        assert experiment in (clone.root / "data/report/index.html").read_text()
    scored = json.loads((clone.root / "data/results/youcook2/val/metrics.json").read_text())
    live = json.loads((clone.root / "data/trainings/youcook2-scratch/live/metrics.json").read_text())
    for direction, metrics in scored["youcook2-avlnet-scratch"].items():  # the last evaluation of the training
        assert metrics["MedR"] == live["evaluation"][direction]["MedR"]
    assert clone.repro(HEARONCE_DEVICE="cpu").ran == []
