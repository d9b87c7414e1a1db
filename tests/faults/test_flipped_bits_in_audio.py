"""A short campaign of flipped bits in extracted audio, its records, remembered digests and answers."""

from faults.counting import ROUNDS, counts
from faults.flipped_audio import campaign


def test_no_flipped_bit_in_audio_digests_and_answers_gives_a_wrong_value(tmp_path, project):
    (folder := tmp_path / "campaign").mkdir()
    outcomes = campaign(folder, 40 * ROUNDS)
    assert [kind for kind, counted in outcomes.items() if counted["wrong"]] == [], outcomes
    assert all(sum(counted.values()) == 40 * ROUNDS for counted in outcomes.values())
    assert outcomes["extracted audio"]["healed"] > 0 < outcomes["remembered digests"]["healed"]
    for kind, counted in outcomes.items():
        for outcome, number in counted.items():
            counts[f"bits flipped in {kind}: {outcome}"] += number
