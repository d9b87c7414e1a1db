"""A whole `dvc repro` killed with SIGKILL: the next one ends in the same outputs. More kills: benchmarks/faults."""

import pytest

from benchmarks.faults.repro import campaign


@pytest.mark.slow
def test_a_killed_repro_ends_in_the_same_outputs(tmp_path):
    tally = campaign(tmp_path, 2, 5)
    assert tally["dvc repro", "kills"] > 0 and tally["dvc repro", "same outputs"] == 2
