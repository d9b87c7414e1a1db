"""Loops over numbers in machine code, by numba, which is imported where one is needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def compiled(function: Callable[..., Any], **options: Any) -> Any:
    """The function in machine code by numba, while which other threads run.

    Later processes find it beside the source, or in the user's cache folder, or in `$NUMBA_CACHE_DIR`. Where none of
    these can be written (a container with a read-only installation and no home), each process compiles anew.

    Args:
        function: in the part of Python that numba compiles.
        **options: of `numba.njit`.
    """
    from numba import njit

    try:
        return njit(nogil=True, cache=True, **options)(function)
    except RuntimeError:  # there is no such folder
        return njit(nogil=True, **options)(function)
