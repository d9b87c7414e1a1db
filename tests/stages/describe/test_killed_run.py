"""A run that is killed with SIGKILL in the middle goes on where it stopped."""

import os
import signal
import subprocess
import sys

import pytest
from waiting import wait_until

from cache.location import Store

RUN = "import sys; sys.argv = ['hearonce', 'describe', 'mine']; from stages.command_line import main; main()"
N, CONCURRENCY = 60, 3


def start() -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", RUN]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended_by(corpora, kind: signal.Signals, n_requests: int) -> tuple[int, str, int]:
    """Sends a signal to a run that has made some requests: exit code, last words, requests that it made in all."""
    corpora.add("mine", [f"caption {number}" for number in range(N)])
    corpora.config(endpoint={"concurrency": CONCURRENCY})
    corpora.server.pause_s = 0.05
    run = start()
    wait_until(lambda: len(corpora.server.requests) >= n_requests, run, step_s=0.002)
    run.send_signal(kind)
    _, said = run.communicate()
    corpora.server.pause_s = 0
    return run.returncode, said, len(corpora.server.requests)


def test_killed_at_half_only_the_rest_is_asked(corpora):
    _, _, n_sent = ended_by(corpora, signal.SIGKILL, N // 2)
    assert N // 2 <= n_sent < N
    (folder,) = Store.default().answers.iterdir()
    kept = sum(path.read_bytes().count(b"\n") for path in folder.glob("*.jsonl"))
    assert n_sent - CONCURRENCY <= kept <= n_sent  # all but what was under way
    assert len(corpora.run()) == N - kept
    assert len(corpora.texts()) == N and corpora.reasons() == {}


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_keeps_what_was_answered(corpora, kind):
    code, said, n_sent = ended_by(corpora, kind, N // 4)
    assert code == 128 + kind and said.splitlines()[-1].startswith("hearonce: interrupted;")
    assert "Traceback" not in said and "never retrieved" not in said
    assert N - n_sent <= len(corpora.run()) <= N - n_sent + CONCURRENCY
    assert len(corpora.texts()) == N


def test_two_runs_at_once_lose_none_of_each_others_answers(corpora):
    captions = [f"caption {number}" for number in range(20)]
    corpora.add("mine", captions)
    corpora.server.pause_s = 0.01
    runs = [start(), start()]
    assert [run.wait() for run in runs] == [0, 0]
    for run in runs:
        run.communicate()
    (folder,) = Store.default().answers.iterdir()
    assert len(list(folder.glob("*.jsonl"))) in (1, 2)
    assert corpora.run() == []
    assert len(corpora.texts()) == 20


def test_a_flipped_bit_is_told_and_costs_one_request(corpora, capsys):
    corpora.add("mine", ["cut onion", "wash pan", "stir soup"])
    corpora.run()
    (path,) = Store.default().answers.glob("*/*.jsonl")
    data = bytearray(path.read_bytes())
    data[data.index(b"hears wash") + 6] ^= 1
    path.write_bytes(bytes(data))
    assert corpora.run() == ["wash pan"]
    assert "does not match its checksum: that answer is lost" in capsys.readouterr().out
    assert corpora.run() == []
