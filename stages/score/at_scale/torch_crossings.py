"""`crossings` on a device of torch."""

from __future__ import annotations

import numpy as np
import torch

from stages.score.at_scale.crossings import Crossings
from stages.score.at_scale.tally import Tally
from stages.score.ranking import Array


def torch_crossings(products: torch.Tensor, tally: Tally, first_query: int, lows: Array, highs: Array) -> Crossings:
    """Compares a block of products with the thresholds of its queries; arguments are those of `crossings`."""
    starts = tally.starts[first_query : first_query + len(products) + 1]
    counts = np.diff(starts)
    parts = []
    for turn in range(int(counts.max(initial=0))):
        rows = np.flatnonzero(counts > turn)
        pairs = starts[rows] + turn
        block = products if len(rows) == len(products) else products[torch.from_numpy(rows).to(products.device)]
        low, high = (
            torch.from_numpy(limits[pairs - starts[0]]).to(products.device)[:, None] for limits in (lows, highs)
        )
        certain = block > high
        near = ((block >= low) & ~certain).nonzero().cpu().numpy()
        above = certain.sum(dim=1).cpu().numpy()
        parts.append(Crossings(pairs, above, pairs[near[:, 0]], near[:, 1]))
    return Crossings.joined(parts)
