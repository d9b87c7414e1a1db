"""The short form of a part of `python -m benchmarks.faults`: damaged inputs of every kind are read or refused."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from faults.counting import ROUNDS, counts
from faults.mutations import OUTCOMES, campaign


def test_damaged_inputs_of_every_kind_are_read_or_refused_in_one_sentence(tmp_path):
    with ProcessPoolExecutor(1, get_context("spawn")) as fresh:  # threads of other tests would deadlock its forks
        tally, wrong = fresh.submit(campaign, tmp_path, 20 * ROUNDS, 3).result()
    for outcome in OUTCOMES:
        counts[f"damaged inputs: {outcome}"] += sum(n for (_, one), n in tally.items() if one == outcome)
    assert not wrong
