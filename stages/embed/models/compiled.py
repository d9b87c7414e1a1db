"""Functions compiled by numba at their first call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any]) -> Any:
    """The function in machine code, while which other threads run.

    Later processes find it beside the source, or in the user's cache folder, or in `$NUMBA_CACHE_DIR`. Where none of
    these can be written (a container with a read-only installation and no home), each process compiles anew.
    """
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # there is no such folder
        return njit(nogil=True)(function)
