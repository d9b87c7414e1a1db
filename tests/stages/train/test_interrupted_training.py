"""A signal in the middle of a training: what it has done is saved, and it goes on exactly there."""

import os
import signal

import pytest
from avlnet_samples import run, states, write_training

from pipeline.operations.interruption import Interrupted, handled
from stages.train.step import Stepper


def test_an_interrupted_training_saves_its_step_and_goes_on_from_there(corpus, monkeypatch):
    write_training("whole", epochs=3), write_training("stopped", epochs=3)
    whole, _ = run("whole")
    step, done = Stepper.step, []

    def stopped(stepper, batches):
        if len(done) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        done.append(1)
        return step(stepper, batches)

    monkeypatch.setattr(Stepper, "step", stopped)
    with handled(), pytest.raises(Interrupted):
        run("stopped")
    assert len(states()) == 1 and len(done) == 4
    curve, _ = run("stopped")
    assert len(done) == len(whole) == len(curve)
    assert curve == whole and not states()
