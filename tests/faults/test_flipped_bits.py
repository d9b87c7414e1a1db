"""The short form of `python -m benchmarks.faults`: a flipped bit in any file is found, never a wrong row."""

from faults.counting import ROUNDS
from faults.flips import campaign


def test_no_flipped_bit_gives_a_wrong_row(tmp_path):
    tally = campaign(tmp_path, ROUNDS, 21)
    assert not {kind: number for (kind, outcome), number in tally.items() if outcome == "wrong"}
    for kind in {kind for kind, _ in tally}:
        handled = tally[kind, "found"] + tally[kind, "harmless"]
        assert tally[kind, "flipped"] == handled > 0, kind
        assert tally[kind, "found"] == tally[kind, "healed"], kind
    harmless = {kind for (kind, outcome), number in tally.items() if outcome == "harmless" and number}
    assert harmless <= {"store: runs.jsonl", "export: npz", "export: safetensors", "export: parquet"}
