"""Canonical tables of a corpus as later stages read them: what its annotations say, and what was described."""

from __future__ import annotations

import polars as pl

from cache import tables as schemas
from pipeline import layout

EXTENDED = {
    "captions": schemas.CAPTIONS,
    "pairs": schemas.PAIRS,
    "relevancy": schemas.RELEVANCY,
    "questions": schemas.QUESTIONS,
    "subsets": schemas.SUBSETS,
}
"""Tables to which describe adds rows: its captions are further caption sources of the same clips."""


def read_extended(corpus: str, name: str) -> pl.DataFrame:
    """A table of `EXTENDED`: the rows of ingest, then those of describe, if that has run.

    Raises:
        UserError: a table is missing, damaged or of another schema.
    """
    table = schemas.read_table(layout.table(corpus, name), EXTENDED[name])
    described = layout.described(corpus, name)
    if not described.exists():
        return table
    return pl.concat([table, schemas.read_table(described, EXTENDED[name])])
