"""The short form of `python -m benchmarks.faults`: what writes into stores is killed, and its next run completes."""

import pytest
from faults.counting import ROUNDS
from faults.kills import VICTIMS, campaign


@pytest.mark.parametrize("name", VICTIMS)
def test_nothing_committed_is_lost_and_the_next_run_completes(tmp_path, name):
    tally = campaign(tmp_path, 4 * ROUNDS, 31, [name])
    assert tally[name, "completed by the next run"] == 4 * ROUNDS
