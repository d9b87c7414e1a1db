import os
import subprocess
import sys
from pathlib import Path

import global_step as worker
import pytest
import torch

from stages.train.processes import Processes

ALONE = Processes(0, 1, torch.device("cpu"))


def assert_same(found, wanted, tolerance=1e-5):
    assert found["loss"].item() == pytest.approx(wanted["loss"].item(), rel=tolerance)
    assert found["gradients"].keys() == wanted["gradients"].keys()
    for name, gradient in wanted["gradients"].items():
        torch.testing.assert_close(
            found["gradients"][name], gradient, rtol=tolerance, atol=tolerance * gradient.abs().max()
        )
    for name, value in wanted["state"].items():
        if "running" in name or "tracked" in name:
            torch.testing.assert_close(found["state"][name], value, rtol=tolerance, atol=tolerance)


def test_two_processes_learn_what_one_learns_from_the_whole_batch(tmp_path):
    """Loss, gradients and the statistics of batch normalisation."""
    out = tmp_path / "found.pt"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "OMP_NUM_THREADS": "1"}
    subprocess.run([*torchrun, worker.__file__, str(out)], env=environment, check=True, capture_output=True)
    assert_same(torch.load(out, weights_only=True), worker.step(ALONE, [worker.batch()]))


def test_parts_give_the_gradient_of_the_whole_loss(monkeypatch):
    """With batch normalisation held still, a batch in parts is exactly the whole batch."""
    still = torch.nn.BatchNorm2d.forward

    def by_statistics_that_are_kept(layer, x):
        with torch.no_grad():
            training, layer.training = layer.training, False
        out = still(layer, x)
        layer.training = training
        return out

    monkeypatch.setattr(torch.nn.BatchNorm2d, "forward", by_statistics_that_are_kept)
    whole = worker.step(ALONE, [worker.batch()])
    parts = worker.step(ALONE, [worker.batch(slice(0, 4)), worker.batch(slice(4, 8))], accumulate=2)
    assert_same(parts, whole)
    assert whole["loss"] > 0


def test_parts_count_once_in_the_running_statistics():
    parts = worker.step(ALONE, [worker.batch(slice(0, 4)), worker.batch(slice(4, 8))], accumulate=2)
    assert parts["state"]["DAVEnet.bn1.num_batches_tracked"] == 2


@pytest.mark.parametrize("precision", ["bf16"])
def test_mixed_precision_stays_near(precision):
    wanted, found = worker.step(ALONE, [worker.batch()]), worker.step(ALONE, [worker.batch()], precision=precision)
    assert found["loss"].item() == pytest.approx(wanted["loss"].item(), rel=0.05)
    assert all(one.dtype == torch.float32 for one in found["gradients"].values())
