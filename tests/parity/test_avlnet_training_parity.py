"""Losses of training against those of the original's `train.py` on the same pickles (benchmarks/train).

The golden file has 20 losses of each of several trainings; with $AVLNET_REFERENCE, a checkout of the original, they are
made anew and must be the same.
"""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.train import comparison
from benchmarks.train.against_reference import TOLERANCE, original
from benchmarks.train.comparison import SMALL, Case

RECORDED = json.loads((Path(__file__).parent / "golden/avlnet_training.json").read_text())["cases"]
GOLDEN = [(Case(**row["case"]), row["losses"], row["evaluations"]) for row in RECORDED]
BRIEF = [  # the others are in the comparison with a checkout
    one
    for one in GOLDEN
    if (one[0].start == "checkpoint" and one[0].seed < 3)
    or (one[0].seed == 1 and one[0].style == ("youcook2" if one[0].mode == "train" else "msrvtt"))
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


@pytest.mark.parametrize(("case", "losses", "evaluations"), BRIEF, ids=[case.name for case, *_ in BRIEF])
def test_losses_and_evaluations_are_those_of_the_original(case, losses, evaluations, material):
    comparison.write_checkpoint(case, SMALL)
    found = comparison.ours(case, SMALL)
    assert len(losses) == comparison.N_LOSSES
    np.testing.assert_allclose(found.losses[: len(losses)], losses, rtol=TOLERANCE)
    assert len(evaluations) == (comparison.EPOCHS + 1 if case.mode == "eval" else 0)
    np.testing.assert_allclose(found.evaluations, evaluations, atol=1e-3)


def test_the_other_mode_has_other_losses(material):
    """What the comparison must not miss: frozen statistics and pooling over real frames."""
    case, losses, _ = next(one for one in GOLDEN if one[0].start == "checkpoint")
    comparison.write_checkpoint(case, SMALL)
    found = comparison.ours(replace(case, mode="train"), SMALL)
    assert np.abs(np.array(found.losses[: len(losses)]) / losses - 1).max() > 10 * TOLERANCE


@pytest.mark.skipif("AVLNET_REFERENCE" not in os.environ, reason="needs a checkout of roudimit/AVLnet")
def test_golden_losses_are_those_of_the_checkout(material):
    for case, *_ in GOLDEN:
        comparison.write_checkpoint(case, SMALL)
    found = original(Path(os.environ["AVLNET_REFERENCE"]), [case for case, *_ in GOLDEN], SMALL)
    for (case, losses, _), curve in zip(GOLDEN, found, strict=True):
        assert set(curve.modes) == {case.mode}
        np.testing.assert_allclose(curve.losses[: len(losses)], losses, rtol=TOLERANCE)
