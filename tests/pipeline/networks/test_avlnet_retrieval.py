"""Similarities that cannot be ranked."""

import numpy as np
import pytest

from cache.errors import UserError
from pipeline.networks.avlnet_retrieval import both_directions


@pytest.mark.parametrize("place", [(2, 2), (2, 0), (0, 3)])
def test_nan_is_refused_wherever_it_is(place):
    similarities = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)
    both_directions(similarities, "bi")
    similarities[place] = np.nan
    with pytest.raises(UserError, match=rf"query {place[0]} \(sound_to_picture\) hold NaN"):
        both_directions(similarities, "bi")


def test_infinite_similarities_have_ranks():
    similarities = np.array([[np.inf, 0.0], [-np.inf, 1.0]])
    assert both_directions(similarities, "bi")["sound_to_picture"]["R@1"] == 100
