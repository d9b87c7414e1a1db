"""How much memory scoring may take, and what a matrix of similarities would."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from cache.errors import UserError

MEMORY_VARIABLE = "HEARONCE_SCORE_MEMORY"
SHARE_OF_MACHINE = 0.25
GIB = float(1 << 30)

BYTES_PER_CELL = 20
"""Of a similarity with the copies that ranking makes of it, and of what is right."""

BYTES_OF_SIMILARITY, BYTES_PER_NUMBER = 4, 24
"""While similarities are computed, of one and of each number of an embedding: in float64, of unit length, squared."""

_LIMIT_OF_CONTAINER = Path("/sys/fs/cgroup/memory.max")


def score_memory() -> float:
    """Bytes that scoring may take: `$HEARONCE_SCORE_MEMORY` in GiB, else a quarter of what this machine has.

    Raises:
        UserError: the variable is no positive number.
    """
    text = os.environ.get(MEMORY_VARIABLE, "").strip()
    if not text:
        return SHARE_OF_MACHINE * _machine_memory()
    with contextlib.suppress(ValueError):
        if 0 < float(text) < float("inf"):
            return float(text) * GIB
    raise UserError(f"{MEMORY_VARIABLE}={text} is no number of GiB: set it to one above 0, or unset it.")


def matrix_bytes(n_queries: int, n_items: int, dim: int) -> float:
    """What scoring takes with all similarities, and before that all embeddings, in memory."""
    cells, numbers = float(n_queries) * n_items, float(n_queries + n_items) * dim
    return max(BYTES_PER_CELL * cells, BYTES_OF_SIMILARITY * cells + BYTES_PER_NUMBER * numbers)


def too_large(what: str, n_queries: int, n_items: int, needed: float, memory: float) -> UserError:
    """The sentence for what cannot be done block by block."""
    return UserError(
        f"{what} needs all {n_queries:,} × {n_items:,} similarities in memory, about "
        f"{needed / GIB:,.1f} GiB, and scoring may take {memory / GIB:.1f} GiB: set "
        f"{MEMORY_VARIABLE} to more GiB on a machine that has them, or use `transform: none`."
    )


def _machine_memory() -> float:
    memory = float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):  # no container, or one without a limit
        memory = min(memory, float(_LIMIT_OF_CONTAINER.read_text()))
    return memory
