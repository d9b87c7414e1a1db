"""Real processes and real signals."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from interrupted_run import BATCH, FINGERPRINT, FORMAT, LONG, QUICK, ROWS, N, silent_wav
from waiting import output_of

from cache.errors import UserError
from cache.location import LocalLocation
from cache.row_store import RowStore
from pipeline.monitor import signals
from pipeline.monitor.run_metrics import runs
from pipeline.monitor.signals import Interrupted, check, deferred, handled, stop_requested

SCRIPT = Path(__file__).parents[2] / "interrupted_run.py"


def start(how):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(SCRIPT), how]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_is_computed_is_committed_and_a_long_decode_given_up(tmp_path, monkeypatch, number):
    monkeypatch.chdir(tmp_path)
    silent_wav(LONG, 600)
    process = start("embed")
    encoded = [int(process.stdout.readline()) for _ in range(QUICK)]
    process.send_signal(number)
    process.send_signal(number)  # a scheduler and a parent both pass it on
    rest, said = output_of(process)
    assert process.returncode == 128 + number
    assert said.splitlines() == [
        "hearonce: interrupted; everything that was committed is kept, the next run goes on from there."
    ]
    assert rest == ""
    store = RowStore.ensure(".hearonce/rows", "captions", FINGERPRINT, FORMAT)
    assert QUICK - BATCH <= len(store) <= QUICK and sorted(encoded) == list(range(QUICK))
    (record,) = runs(LocalLocation(Path(store.path)))
    assert (record.made, record.ended) == (len(store), "interrupted")
    before = len(store)
    LONG.unlink()
    process = start("embed")
    again, _ = output_of(process)
    assert process.returncode == 0
    assert f"{N} rows wanted, {before} found in cache, {N - before} computed, 0 failed" in again
    store.refresh()
    np.testing.assert_array_equal(store.read([row.key for row in ROWS])[:, 0], np.arange(N))


def test_a_second_ctrl_c_leaves_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    process = start("stubborn")
    assert [process.stdout.readline() for _ in range(2)] == ["asleep\n"] * 2
    pressed = 0
    while process.poll() is None and pressed < 60:  # on a busy machine it may see two at the same moment
        process.send_signal(signal.SIGINT)
        pressed += 1
        with suppress(subprocess.TimeoutExpired):
            process.wait(signals.SAME_S + 0.5)
    assert 2 <= pressed < 60
    _, said = process.communicate()
    assert process.returncode == 130
    assert said == "hearonce: left at once; what was committed is kept.\n"


def test_a_commit_is_not_interrupted():
    before = signal.getsignal(signal.SIGTERM)
    done = []
    with handled(), pytest.raises(Interrupted):
        with deferred():
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("commit")
        done.append("more")
    assert done == ["commit"] and signals.exit_code() == 143
    assert not stop_requested() and signal.getsignal(signal.SIGTERM) is before
    check()


def test_what_is_ignored_stays_ignored():
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with handled():
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop_requested()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_breaks_by_the_signal_itself_is_an_interruption():
    """A cluster that is being started loses its workers by the same Ctrl-C."""
    with handled(), pytest.raises(Interrupted), deferred():
        os.kill(os.getpid(), signal.SIGINT)
        raise RuntimeError("a child has died")
    with handled(), pytest.raises(UserError, match="the disk is full"), deferred():
        os.kill(os.getpid(), signal.SIGINT)
        raise UserError("the disk is full")
