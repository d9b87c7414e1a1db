"""What does not depend on how many processes train, on parts of batches, and on kills."""

import copy
import os
import signal
import subprocess
import sys
from pathlib import Path

import global_step as worker
import numpy as np
import pytest
import torch
from avlnet_samples import losses, run, states, write_corpus, write_training
from training_processes import start, start_together, train_until_killed

from pipeline.config import layout
from pipeline.networks.avlnet import AvlNet
from stages.train.batches import share
from stages.train.config import TrainingConfig
from stages.train.processes import Processes
from stages.train.step import Stepper, avlnet_loss

COMMAND = [str(Path(sys.executable).with_name("hearonce")), "train"]
ENVIRONMENT = {"PYTHONPATH": str(Path(__file__).parents[3]), "OMP_NUM_THREADS": "1", "HEARONCE_DEVICE": "cpu"}
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


@pytest.mark.parametrize("parts", [1, 2])
def test_two_processes_learn_what_one_learns_from_the_whole_batch(tmp_path, parts):
    """Loss, gradients and the statistics of batch normalisation, in as many parts."""
    out = tmp_path / "found.pt"
    processes = start_together(2, worker.step_on_a_share, out, parts)
    for one in processes:
        one.join(300)
    assert [one.exitcode for one in processes] == [0, 0]
    n = worker.N // parts
    alone = worker.step(ALONE, [worker.batch(slice(i * n, (i + 1) * n)) for i in range(parts)], accumulate=parts)
    assert_same(torch.load(out, weights_only=True), alone, tolerance=1e-5 if parts == 1 else 1e-4)


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


def test_parts_normalise_as_the_gpus_of_data_parallel_do():
    """A replica per part, of which the first shares its running statistics with the network; one loss over all."""
    parts = [worker.batch(slice(0, 4)), worker.batch(slice(4, 8))]
    found = worker.step(ALONE, parts, accumulate=2)
    torch.manual_seed(0)
    net = AvlNet(worker.SHAPE).train()
    replica = copy.deepcopy(net)
    for own, shared in zip(replica.modules(), net.modules(), strict=True):
        own._parameters.update(shared._parameters)
    sides = [one(*part.inputs(ALONE.device)) for one, part in zip((net, replica), parts, strict=True)]
    loss = avlnet_loss(tuple(torch.cat(rows) for rows in zip(*sides, strict=True)))
    loss.backward()
    gradients = {name: one.grad for name, one in net.named_parameters() if one.grad is not None}
    assert_same(found, {"loss": loss, "gradients": gradients, "state": net.state_dict()}, tolerance=1e-4)


def test_in_mode_eval_parts_are_the_whole_batch():
    whole = worker.step(ALONE, [worker.batch()], mode="eval")
    parts = worker.step(ALONE, [worker.batch(slice(n, n + 2)) for n in range(0, 8, 2)], mode="eval", accumulate=4)
    assert_same(parts, whole)
    assert whole["state"]["DAVEnet.bn1.num_batches_tracked"] == 0


def test_parts_are_the_same_for_any_number_of_processes():
    batch = np.arange(24)
    alone = share(batch, 0, 1, 3)
    shares = [share(batch, rank, 4, 3) for rank in range(4)]
    for part in range(3):
        np.testing.assert_array_equal(np.concatenate([one[part] for one in shares]), alone[part])


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_stays_near(precision):
    wanted, found = worker.step(ALONE, [worker.batch()]), worker.step(ALONE, [worker.batch()], precision=precision)
    assert found["loss"].item() == pytest.approx(wanted["loss"].item(), rel=0.05)
    assert all(one.dtype == torch.float32 for one in found["gradients"].values())


def test_gradients_that_overflow_in_fp16_cost_a_step_and_lower_the_scale():
    net = AvlNet(worker.SHAPE).train()
    before = {name: value.clone() for name, value in net.named_parameters()}
    config = TrainingConfig(corpus="mine", variant="tri", text="word2vec", precision="fp16", lr=0.1)
    stepper = Stepper(net, config, ALONE)
    stepper.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    stepper.step([worker.batch()])
    assert all(torch.equal(value, before[name]) for name, value in net.named_parameters())
    assert stepper.scaler.get_scale() == 2.0**39
    for _ in range(30):
        stepper.step([worker.batch()])
    assert not all(torch.equal(value, before[name]) for name, value in net.named_parameters())
    assert all(value.isfinite().all() for value in net.parameters())


def test_two_processes_follow_the_curve_of_one(corpus):
    """By the real command, which starts torchrun."""
    for name in ("one", "two"):
        write_training(name, lr=1e-5, epochs=1)
    alone, _ = run("one")
    environment = {**os.environ, **ENVIRONMENT}
    subprocess.run([*COMMAND, "two", "--processes", "2"], env=environment, check=True, capture_output=True)
    assert losses("two") == pytest.approx(alone, rel=1e-5)


def test_a_training_killed_within_an_epoch_goes_on_exactly_where_it_was(project):
    write_corpus(53)
    write_training("whole", batch_size=2)
    write_training("killed", batch_size=2)
    curve, _ = run("whole")
    process = start(train_until_killed, "killed", 23)
    process.join(300)
    assert process.exitcode == -signal.SIGKILL
    (state,) = states()
    assert torch.load(state, weights_only=True)["progress"]["losses"] == curve[:20]
    resumed, _ = run("killed")
    assert resumed == curve and len(curve) == 2 * 26
    first, second = (torch.load(layout.training(name) / "model.pth", weights_only=True) for name in ("whole", "killed"))
    assert all(torch.equal(first[key], second[key]) for key in first)
