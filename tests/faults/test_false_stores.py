"""Every false store is one sentence and exit code 2: no traceback, no wait for ever, no memory for what it lacks."""

from faults.counting import ROUNDS, counts
from faults.refusing import campaign


def test_false_stores_and_files_are_one_sentence(project, tmp_path):
    number, wrong = campaign(tmp_path, every=1 if ROUNDS > 1 else 3)
    counts["false stores and files"] += number
    assert not wrong
    assert number > 200
