"""Losses of training against those of the original's `train.py` on the same pickles (benchmarks/train).

The golden file has 20 losses of each of several trainings; with $AVLNET_REFERENCE, a checkout of the original, they are
made anew and must be the same.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.train import comparison
from benchmarks.train.against_reference import TOLERANCE, original
from benchmarks.train.comparison import SMALL, Case

GOLDEN = [
    (Case(**{key: value for key, value in row.items() if key != "losses"}), row["losses"])
    for row in json.loads((Path(__file__).parent / "golden/avlnet_training.json").read_text())["cases"]
]
BRIEF = [
    (case, losses)
    for case, losses in GOLDEN
    if case.mode == "train" or (case.start == "checkpoint" and case.seed in (1, 2)) or "scratch-eval-seed1" in case.name
]


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """The project with the pickles imported, as the current folder; several threads would cost more than they save."""
    before, threads = Path.cwd(), torch.get_num_threads()
    os.chdir(tmp_path_factory.mktemp("comparison"))
    torch.set_num_threads(1)
    comparison.write_material(SMALL)
    comparison.import_material()
    yield
    torch.set_num_threads(threads)
    os.chdir(before)


@pytest.mark.parametrize(("case", "losses"), BRIEF, ids=[case.name for case, _ in BRIEF])
def test_the_first_losses_are_those_of_the_original(case, losses, material):
    comparison.write_checkpoint(case, SMALL)
    found = comparison.our_losses(case, SMALL)
    assert len(losses) == comparison.N_LOSSES
    np.testing.assert_allclose(found[: len(losses)], losses, rtol=TOLERANCE)


def test_the_other_mode_has_other_losses(material):
    """What the comparison must not miss: frozen statistics and pooling over real frames."""
    case, losses = next((case, losses) for case, losses in GOLDEN if case.start == "checkpoint" and case.seed == 1)
    comparison.write_checkpoint(case, SMALL)
    other = Case(case.variant, case.style, case.start, "train", case.seed)
    found = comparison.our_losses(other, SMALL)
    assert np.abs(np.array(found[: len(losses)]) / losses - 1).max() > 10 * TOLERANCE


@pytest.mark.skipif("AVLNET_REFERENCE" not in os.environ, reason="needs a checkout of roudimit/AVLnet")
def test_golden_losses_are_those_of_the_checkout(material):
    for case, _ in GOLDEN:
        comparison.write_checkpoint(case, SMALL)
    found = original(Path(os.environ["AVLNET_REFERENCE"]), [case for case, _ in GOLDEN], SMALL)
    for (case, losses), steps in zip(GOLDEN, found, strict=True):
        assert {training for training, _ in steps} == {case.mode == "train"}
        np.testing.assert_allclose([loss for _, loss in steps][: len(losses)], losses, rtol=TOLERANCE)
