"""The short form of `python -m benchmarks.faults`: what writes into stores is killed, and its next run completes."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from faults.counting import ROUNDS
from faults.kills import VICTIMS, campaign


def test_nothing_committed_is_lost_and_the_next_run_completes(tmp_path):
    with ProcessPoolExecutor(1, get_context("spawn")) as fresh:  # threads of other tests would deadlock its forks
        tally = fresh.submit(campaign, tmp_path, 4 * ROUNDS, 31).result()
    assert {name: tally[name, "completed by the next run"] for name in VICTIMS} == dict.fromkeys(VICTIMS, 4 * ROUNDS)
