"""Reading checkpoints: wrappers, prefixes, and files that are not what they should be."""

import argparse
import random
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.checkpoints.weights import CheckpointError, load_strictly, read_state_dict


@pytest.fixture
def model():
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))


def saved(path, content):
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: weights,
        lambda weights: {"epoch": 3, "state_dict": weights},
        lambda weights: {"model": weights, "optimizer": {"lr": 0.1}},
        lambda weights: {"state_dict": {f"module.{key}": value for key, value in weights.items()}},
        lambda weights: {"state_dict": weights, "best": np.float64(0.25), "seen": np.int64(7)},
    ],
    ids=["bare", "state_dict", "model", "distributed", "numpy metrics beside"],
)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_weights_are_found(tmp_path, model, wrap, zipped):
    path = tmp_path / "some.pt"
    torch.save(wrap(model.state_dict()), path, _use_new_zipfile_serialization=zipped)
    weights = read_state_dict(path)
    assert list(weights) == list(model.state_dict())
    other = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    load_strictly(other, weights, path, "two layers")
    for key, value in model.state_dict().items():
        torch.testing.assert_close(other.state_dict()[key], value, rtol=0, atol=0)


def test_the_prefix_stays_when_not_every_key_has_it(tmp_path):
    path = saved(tmp_path / "a.pt", {"module.a": torch.ones(1), "b": torch.ones(1)})
    assert list(read_state_dict(path)) == ["module.a", "b"]


def test_another_wrapper_can_be_named(tmp_path, model):
    path = saved(tmp_path / "a.pt", {"state_dict_v": model.state_dict()})
    with pytest.raises(CheckpointError, match=r"looked under state_dict, model; it holds: state_dict_v"):
        read_state_dict(path)
    assert len(read_state_dict(path, wrappers=["state_dict", "state_dict_v"])) == 4


def test_every_difference_is_listed_in_one_error(tmp_path, model):
    weights = model.state_dict()
    for key in ("0.weight", "1.bias"):
        weights[f"other.{key}"] = weights.pop(key)
    weights["0.bias"] = torch.zeros(5)
    path = saved(tmp_path / "other.pt", weights)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_strictly(model, read_state_dict(path), path, "two layers")
    assert str(caught.value).splitlines() == [
        f"{path} is not a checkpoint of two layers",
        "2 missing:",
        "  0.weight",
        "  1.bias",
        "2 unexpected:",
        "  other.0.weight",
        "  other.1.bias",
        "1 of another shape:",
        "  0.bias: (5,) in the file, (4,) in the model",
    ]
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.999])
def test_a_truncated_file(tmp_path, zipped, share):
    path = tmp_path / "cut.pt"
    torch.save({"state_dict": {"a": torch.ones(300, 300)}}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CheckpointError, match=re.escape(f"{path} is cut short or damaged")):
        read_state_dict(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty: fetch it again"),
        (b"RIFF....WAVEfmt " * 99, "is not a PyTorch checkpoint"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", "is a Git LFS pointer"),
        (b"\n<!DOCTYPE html><html>", "is a web page"),
    ],
    ids=["empty", "wav", "lfs pointer", "web page"],
)
def test_something_else_than_a_checkpoint(tmp_path, content, says):
    path = tmp_path / "a.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=re.escape(f"{path} {says}")):
        read_state_dict(path)


def test_a_path_without_a_file(tmp_path):
    with pytest.raises(CheckpointError, match=r"checkpoint not found: .*none\.pt"):
        read_state_dict(tmp_path / "none.pt")
    with pytest.raises(CheckpointError, match="is a folder"):
        read_state_dict(tmp_path)


@pytest.mark.parametrize("content", [torch.ones(2), [torch.ones(2)], {}, {"epoch": 3}, {"state_dict": {"a": 1}}])
def test_no_weights_inside(tmp_path, content):
    path = saved(tmp_path / "a.pt", content)
    with pytest.raises(CheckpointError, match=r"not a dictionary of weights|has no state dict"):
        read_state_dict(path)


class Trap:
    """Unpickling it would call a function."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('code from a checkpoint ran')",))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_training_config_beside_the_weights_is_passed_over(tmp_path, model, monkeypatch, zipped):
    """EgoVLP saves its ConfigParser, which holds command-line options and paths."""
    module = types.ModuleType("parse_config")
    exec("class ConfigParser:\n    pass", module.__dict__)
    monkeypatch.setitem(sys.modules, "parse_config", module)
    config = module.ConfigParser()
    config.args, config._save_dir, config._config = argparse.Namespace(resume=None), Path("results"), {"n_gpu": 8}
    path, weights = tmp_path / "egovlp.pth", {f"module.{key}": value for key, value in model.state_dict().items()}
    torch.save({"state_dict": weights, "config": config}, path, _use_new_zipfile_serialization=zipped)
    monkeypatch.delitem(sys.modules, "parse_config")
    assert list(read_state_dict(path)) == list(model.state_dict())
    assert "parse_config" not in sys.modules


def test_code_in_a_checkpoint_never_runs(tmp_path):
    path = saved(tmp_path / "a.pt", {"state_dict": {"a": torch.ones(1)}, "config": Trap()})
    with pytest.raises(CheckpointError, match="holds more than tensors"):
        read_state_dict(path)


def test_a_torchscript_archive_is_not_run(tmp_path):
    """OpenAI's files of CLIP; the command that the message names makes one that is read."""
    path, out = tmp_path / "ViT-B-32.pt", tmp_path / "out.pt"
    torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(path)
    with pytest.raises(CheckpointError, match=r"is a TorchScript archive, .*a program, which is not run") as caught:
        read_state_dict(path)
    command = (
        str(caught.value).split('python -c "')[1].removesuffix('"').replace("IN", str(path)).replace("OUT", str(out))
    )
    exec(command)
    assert read_state_dict(out).keys() == {"weight", "bias"}


def test_a_pickle_too_new_to_be_read_safely_says_how_to_rewrite_it(tmp_path):
    path = tmp_path / "a.pt"
    torch.save({"state_dict": {"a": torch.ones(1)}}, path, pickle_protocol=4)
    with pytest.raises(CheckpointError, match="rewrite it once"):
        read_state_dict(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_whatever_bit_of_a_checkpoint_is_flipped_is_one_sentence_or_no_matter(tmp_path, zipped):
    """Also in the directory at the end of the file, which raises exceptions of zipfile's own."""
    path = tmp_path / "model.pth"
    torch.save({"weight": torch.arange(6.0)}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    dice = random.Random(5)
    places = {*range(len(whole) - 150, len(whole)), *dice.sample(range(len(whole)), 150)}
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << dice.randrange(8)
        path.write_bytes(damaged)
        try:
            read_state_dict(path)
        except CheckpointError as error:
            assert str(path) in str(error) and "Traceback" not in str(error)
    locator = whole.rfind(b"PK\x06\x07")
    for stop in (10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:stop])
        with pytest.raises(CheckpointError, match=r"model\.pth"):
            read_state_dict(path)
    if zipped:
        disks = bytearray(whole)
        disks[locator + 16] ^= 2  # "zipfiles that span multiple disks are not supported"
        path.write_bytes(disks)
        with pytest.raises(CheckpointError, match=r"is cut short or damaged .*fetch it again"):
            read_state_dict(path)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_that_are_nan_are_refused_and_infinite_ones_are_not(tmp_path, model, dtype):
    weights = {key: value.to(dtype) for key, value in model.state_dict().items()}
    weights["0.weight"][0, :2] = torch.tensor([torch.inf, -torch.inf])
    load_strictly(model, weights, tmp_path / "a.pt", "two layers")
    weights["1.bias"][1] = torch.nan
    with pytest.raises(CheckpointError, match=r"a\.pt holds NaN in 1\.bias: its training diverged, or it is damaged"):
        load_strictly(model, weights, tmp_path / "a.pt", "two layers")
