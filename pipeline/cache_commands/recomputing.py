"""`hearonce cache verify --recompute N`: cached rows computed anew and compared; who computes them is a stage."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.cache_commands.showing import show_json, show_table
from pipeline.counted import counted

STAGE = ""
"""`module:function` that computes rows anew, a `Recompute`; the command line of the stages names it."""


@dataclass(frozen=True)
class Compared:
    """A cached row that has been computed anew, or was to be.

    Attributes:
        encoder: name of the encoder.
        corpus: whose clip or caption it is.
        id: of the clip or caption.
        key: of the row, in hex.
        path: the medium; empty for a caption.
        where: the segment or embedding cache that holds the row.
        difference: L2 norm of the difference, divided by the longer of the two; None where it was not computed.
        agrees: whether the two are the same up to rounding.
        reason: why it was not computed.
    """

    encoder: str
    corpus: str
    id: str
    key: str
    path: str
    where: str
    difference: float | None
    agrees: bool
    reason: str = ""


Recompute = Callable[[int, int, Sequence[str]], list[Compared]]
"""Given how many rows, a seed, and the paths of stores (all of the project if empty)."""


def recompute(n: int, seed: int, stores: Sequence[str], as_json: bool) -> bool:
    """Computes n random rows anew, reports them, and says whether all agree.

    Raises:
        UserError: no cached row of the project can be computed.
    """
    module, name = STAGE.split(":")
    run: Recompute = getattr(importlib.import_module(module), name)
    compared = run(n, seed, stores)
    agreeing = [one for one in compared if one.agrees]
    failed = [one for one in compared if one.reason]
    differing = [one for one in compared if not one.agrees and not one.reason]
    if as_json:
        show_json({"seed": seed, "agree": len(agreeing), "rows": [vars(one) for one in compared]})
        return not differing
    print(
        f"{counted(len(compared) - len(failed), 'row')} computed anew (seed {seed}): {len(agreeing)} agree, "
        f"{len(differing)} differ."
    )
    if differing:
        show_table("rows that differ from what their encoder gives", [_line(one) for one in differing])
        print("Delete the segments that hold them, or the store; `dvc repro` computes what is missing.")
    if failed:
        lines = [{"id": one.id, "encoder": one.encoder, "path": one.path, "reason": one.reason} for one in failed]
        show_table(f"{counted(len(failed), 'row')} could not be computed", lines)
    return not differing


def _line(one: Compared) -> dict[str, object]:
    difference = "other shape" if one.difference is None else f"{one.difference:.2g}"
    return {
        "encoder": one.encoder,
        "corpus": one.corpus,
        "id": one.id,
        "path": one.path,
        "key": one.key,
        "difference": difference,
        "where": one.where,
    }
