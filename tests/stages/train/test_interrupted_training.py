"""A signal in the middle of a training: what it has done is saved, and it goes on exactly there."""

import os
import shutil
import signal

import pytest
import torch
from avlnet_samples import run, states, write_training

from cache.errors import UserError
from pipeline.config import layout
from pipeline.monitor.signals import Interrupted, handled
from stages.train.step import Stepper


def stop_at(step_number, monkeypatch):
    """SIGTERM during that step, once."""
    step, done = Stepper.step, []

    def stopped(stepper, batches):
        if len(done) == step_number:
            os.kill(os.getpid(), signal.SIGTERM)
        done.append(1)
        return step(stepper, batches)

    monkeypatch.setattr(Stepper, "step", stopped)
    return done


def test_a_state_of_the_other_mode_is_refused_and_kept(corpus, monkeypatch):
    write_training("small", mode="eval", epochs=3)
    stop_at(3, monkeypatch)
    with handled(), pytest.raises(Interrupted):
        run()
    (state,) = states()
    saved = state.read_bytes()
    assert torch.load(state, weights_only=True)["mode"] == "eval"
    write_training("small", mode="train", epochs=3)
    with pytest.raises(
        UserError, match=r"saved in mode eval, .* in mode train: write `mode: eval` to go on, or delete"
    ):
        run()
    assert state.read_bytes() == saved
    write_training("small", mode="eval", epochs=3)
    assert len(run()[0]) == 6 and not states()


def test_kept_epochs_outlive_an_interruption_and_the_deletion_of_outputs(corpus, monkeypatch):
    write_training("whole", keep="all", epochs=3), write_training("stopped", keep="all", epochs=3)
    run("whole")
    stop_at(5, monkeypatch)
    with handled(), pytest.raises(Interrupted):
        run("stopped")
    folder = layout.training("stopped")
    assert sorted(one.name for one in (folder / "epochs").iterdir()) == ["e1.pth", "e2.pth"]
    shutil.rmtree(folder)  # as DVC does before it runs the stage again
    run("stopped")
    for name in ("e1.pth", "e2.pth", "e3.pth"):
        first, second = (torch.load(layout.training(one) / "epochs" / name) for one in ("whole", "stopped"))
        assert all(torch.equal(first[key], second[key]) for key in first)


def test_what_another_setting_did_not_keep_is_said(corpus, monkeypatch, capsys):
    write_training(keep="last", epochs=3)
    stop_at(5, monkeypatch)
    with handled(), pytest.raises(Interrupted):
        run()
    write_training(keep="all", epochs=3)
    run()
    assert "e1.pth, e2.pth were not kept" in capsys.readouterr().out
    assert [one.name for one in (layout.training("small") / "epochs").iterdir()] == ["e3.pth"]


def test_an_interrupted_training_saves_its_step_and_goes_on_from_there(corpus, monkeypatch):
    write_training("whole", epochs=3), write_training("stopped", epochs=3)
    whole, _ = run("whole")
    done = stop_at(3, monkeypatch)
    with handled(), pytest.raises(Interrupted):
        run("stopped")
    assert len(states()) == 1 and len(done) == 4
    curve, _ = run("stopped")
    assert len(done) == len(whole) == len(curve)
    assert curve == whole and not states()
