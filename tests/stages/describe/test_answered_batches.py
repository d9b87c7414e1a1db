"""One caption at which a local model fails costs no other."""

import pytest

from cache.errors import UserError
from pipeline.runner.batches import MOST_IN_A_ROW
from pipeline.runner.run import NotComputed
from stages.describe.local_model import answered_batches


def answered(batches, fails):
    left = list(batches)

    def replies(captions):
        for one in captions:
            if one in fails:
                raise fails[one]
        return [f"about {one}" for one in captions]

    found = {}
    for captions, got in answered_batches(lambda: left.pop(0) if left else None, replies):
        found |= {one: str(got) if isinstance(got, NotComputed) else got[i] for i, one in enumerate(captions)}
    return found


@pytest.mark.parametrize(
    "error", [ValueError("odd"), MemoryError(), RecursionError(), UnicodeDecodeError("u", b"", 0, 1, "x")]
)
def test_a_caption_at_which_the_model_fails_is_a_problem(error):
    found = answered([["a", "b", "c"], ["b2"], ["d"]], {"b": error, "b2": error})
    assert {one: found[one] for one in "acd"} == {one: f"about {one}" for one in "acd"}
    assert found["b"] == found["b2"] != "about b"


def test_a_model_that_fails_at_all_captions_ends_the_run():
    with pytest.raises(ValueError, match="broken"):
        answered([["a", "b"], ["c"]], dict.fromkeys("abc", ValueError("broken")))
    many = [str(number) for number in range(2 * MOST_IN_A_ROW)]
    with pytest.raises(ValueError, match="broken"):
        answered([["fine"], many], dict.fromkeys(many, ValueError("broken")))


def test_what_ends_a_run_ends_it():
    with pytest.raises(UserError, match="wrong"):
        answered([["a", "b"]], {"b": UserError("The setting is wrong.")})
