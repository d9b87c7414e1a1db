"""Blocks of products, on the processor by numpy or on any device by torch, in a precision of one's choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.score.at_scale.bounds import FLOAT32, FLOAT64, Arithmetic, outward
from stages.score.at_scale.crossings import Crossings, crossings
from stages.score.at_scale.sides import Precision, Prepared
from stages.score.at_scale.tally import Tally
from stages.score.ranking import Array

TENSOR_CORES = 2.0**-22
"""Unit roundoff taken for sums on a GPU, which cuts digits off where a processor rounds."""

HALF_UNITS = {"bf16": 2.0**-8, "fp16": 2.0**-11}


@dataclass(frozen=True)
class Multiplier:
    """How a block of products is computed and compared.

    Attributes:
        device: None is numpy, which on a processor is faster than torch and needs no second to load; else a device of
            torch.
        precision: of the factors.
    """

    device: str | None = None
    precision: Precision = "fp32"

    @property
    def arithmetic(self) -> Arithmetic:
        """Of the products."""
        if self.precision == "fp64":
            return FLOAT64
        if self.device is None:
            return FLOAT32
        on_gpu = not self.device.startswith("cpu")
        results = 0.0 if on_gpu else HALF_UNITS.get(self.precision, 0.0)
        return Arithmetic(TENSOR_CORES if on_gpu else FLOAT32.sums, results)

    def place(self, rows: Prepared) -> Any:
        """Rows where they are multiplied."""
        if self.device is None:
            return rows.near
        import torch

        kind = {"fp64": torch.float64, "fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
        return torch.from_numpy(rows.near).to(self.device, kind[self.precision])

    def products(self, queries: Any, items: Any, out: Array | None = None) -> Any:
        """(queries, items); of factors in half precision a GPU gives float32, a processor half precision.

        Args:
            queries: placed.
            items: placed.
            out: memory that numpy may use again.
        """
        if self.device is None:
            if out is None or out.size < len(queries) * len(items) or out.dtype != queries.dtype:
                return queries @ items.T
            return np.matmul(queries, items.T, out=out[: len(queries) * len(items)].reshape(len(queries), -1))
        import torch

        from pipeline.monitor.device import computing

        with computing(torch.device(self.device), "fp32"):
            if queries.is_cuda and self.precision in HALF_UNITS:
                return torch.mm(queries, items.T, out_dtype=torch.float32)
            return torch.mm(queries, items.T)

    def crossings(self, products: Any, tally: Tally, first: int, thresholds: Array, margins: Array) -> Crossings:
        """See `crossings`; thresholds and margins are of the pairs of the block's queries."""
        if self.device is None:
            return crossings(products, tally, first, *outward(thresholds, margins, products.dtype))
        from stages.score.at_scale.torch_crossings import torch_crossings

        kind = np.dtype(np.float64 if self.precision == "fp64" else np.float32)
        return torch_crossings(products, tally, first, *outward(thresholds, margins, kind))


FAST = Multiplier()


def row_maxima(products: Any) -> Array:
    """The greatest product of each row."""
    return products.max(axis=1) if isinstance(products, np.ndarray) else products.amax(dim=1).float().cpu().numpy()
