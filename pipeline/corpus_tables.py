"""Canonical tables of a corpus as later stages read them: what its annotations say, and what was described."""

from __future__ import annotations

import json
from collections.abc import Mapping

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


KINDS = "hearonce.kinds"
"""Note of the media table: the kinds of those media that have one, by digest."""


def kinds_note(kinds: Mapping[str, str]) -> dict[str, str]:
    """The note that a media table is written with; none, and so the same bytes as ever, where no medium has a kind."""
    kinds = {digest: kind for digest, kind in kinds.items() if kind}
    return {KINDS: json.dumps(kinds, sort_keys=True)} if kinds else {}


def media_kinds(corpus: str) -> dict[str, str]:
    """The kinds (`pipeline.media.length`) of the media of a corpus that have one, by digest."""
    return json.loads(schemas.read_note(layout.table(corpus, "media"), KINDS) or "{}")


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
