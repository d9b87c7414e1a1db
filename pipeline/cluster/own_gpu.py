"""Preloaded by workers that share a job of several GPUs: each sees its own alone."""

from __future__ import annotations

import os
import re
from typing import Any


def dask_setup(worker: Any) -> None:
    """Called when a worker begins, before anything touches a GPU. `dask worker --nworkers` numbers names: `NAME-2`."""
    shown = [one for one in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if one]
    number = re.search(r"-(\d+)$", str(worker.name))
    if number and len(shown) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = shown[int(number[1]) % len(shown)]
