"""What is said of a checkpoint that does not fit: each key, and no more lines than one reads."""

import json
from pathlib import Path

import pytest
import torch

from pipeline.checkpoints.weights import branches, differences

GOLDEN = Path(__file__).parents[2] / "parity" / "golden"


def published(name):
    """Keys and shapes of a published checkpoint, without a byte of weights."""
    keys = json.loads((GOLDEN / f"keys_{name}.json").read_text())["keys"]
    return {key: torch.empty(shape, device="meta") for key, shape, *_ in keys}


def named(lines, keys):
    """The keys that lines of a message stand for."""
    found = set()
    for line in lines:
        name = line.strip().split(" ")[0].removesuffix(":")
        found |= {key for key in keys if key == name or (name.endswith(".*") and key.startswith(name[:-1]))}
    return found


@pytest.mark.parametrize(
    ("model", "file"),
    [
        ("laion_clap_fusion", "egovlp_frozen_in_time_4f"),
        ("ase_htsat_bert", "laion_clap_fusion"),
        ("egovlp_frozen_in_time_4f", "resnet152"),
    ],
)
def test_a_checkpoint_of_another_family_is_told_in_few_lines_that_cover_every_key(model, file):
    expected, weights = published(model), published(file)
    lines = differences(expected, weights).splitlines()
    assert len(lines) < 40 and max(map(len, lines)) < 240
    parts, part = {}, ""
    for line in lines:
        if line.endswith(":"):
            number, part = line.rstrip(":").split(" ", 1)
            parts[part] = (int(number), [])
        else:
            parts[part][1].append(line)
    missing, unexpected = expected.keys() - weights.keys(), weights.keys() - expected.keys()
    assert named(parts["missing"][1], expected) == missing and parts["missing"][0] == len(missing)
    assert named(parts["unexpected"][1], weights) == unexpected and parts["unexpected"][0] == len(unexpected)


def test_a_branch_of_which_a_part_is_wrong_is_followed_to_its_keys():
    model = [f"net.layers.{i}.{name}" for i in range(20) for name in ("weight", "bias", "scale")]
    wrong = [key for key in model if key.endswith("scale") or key.startswith("net.layers.3.")]
    found = branches(wrong, model)
    assert found.pop("net.layers.3.*") == [f"net.layers.3.{name}" for name in ("weight", "bias", "scale")]
    assert found == {key: [key] for key in wrong if not key.startswith("net.layers.3.")}


def test_shapes_of_a_wider_model_are_told_by_an_example():
    narrow = {f"text.{i}.weight": torch.empty(4, 4) for i in range(30)} | {"head.weight": torch.empty(2, 4)}
    wide = {key: torch.empty(2 * len(value), 8) for key, value in narrow.items()}
    assert differences(narrow, wide).splitlines() == [
        "31 of another shape:",
        "  text.* (30 keys, such as text.0.weight: (8, 8) in the file, (4, 4) in the model)",
        "  head.weight: (4, 8) in the file, (2, 4) in the model",
    ]
    assert differences(narrow, narrow) == ""
