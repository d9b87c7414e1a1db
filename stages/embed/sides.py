"""One side of an encoder on a corpus: missing rows into the row store, then the artifact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cache.artifact_writer import write_artifact
from cache.errors import UserError
from cache.location import Store
from cache.row_format import RowFormat
from cache.row_store import RowStore
from pipeline import layout
from pipeline.embedding_run import embed_missing
from pipeline.previous_artifact import warm
from pipeline.problems import Problems
from pipeline.row_making import RowMaker
from pipeline.summary import Summary
from pipeline.wanted_rows import WantedRows
from stages.embed.encoder import Modality


@dataclass(frozen=True)
class Side:
    """What is embedded.

    Attributes:
        corpus: whose clips or captions.
        encoder: name of the encoder.
        modality: `clips` or `captions`.
        fingerprint: of all that decides a row.
        identity: what it was made of, see `pipeline.fingerprints`.
        format: of the rows.
        name: of the artifact, where an encoder has several sides of a modality.
    """

    corpus: str
    encoder: str
    modality: Modality
    fingerprint: str
    identity: Mapping[str, Any]
    format: RowFormat
    name: str = ""


def embed_side(
    side: Side,
    rows: WantedRows,
    maker: RowMaker,
    problems: Problems,
    note: str = "",
) -> str:
    """Computes what is missing and writes the artifact.

    Args:
        side: what is embedded.
        rows: all wanted rows, in table order.
        maker: computes rows; not asked when nothing is missing.
        problems: collects failures.
        note: for the summary.

    Returns:
        The summary line.
    """
    store = RowStore.ensure(Store.default().rows, side.modality, side.fingerprint, side.format, side.identity)
    name = side.name or side.modality
    stage = f"embed_{name}"
    summary = Summary(f"{stage} {side.corpus} {side.encoder}", note=note)
    out = layout.embeddings(side.corpus, side.encoder, name)
    found = store.lookup(rows.keys)
    with summary.timed("warm"):
        warm(store, out, found, summary.remark)
    failed = embed_missing(rows, store, maker, problems=problems, summary=summary, found=found)
    if failed.any():
        rows = rows.part(np.flatnonzero(~failed))
        found = store.lookup(rows.keys)
    with summary.timed("write"):
        description = {"modality": side.modality, "encoder": side.encoder, "fingerprint": side.fingerprint}
        try:
            write_artifact(out, rows.ids, found, store, description)
        except KeyError:
            raise UserError(
                f"{len(found.missing())} rows have vanished from {store.path} while {stage} ran (has somebody "
                "dropped rows with `hearonce cache gc`?): run again."
            ) from None
    return summary.line()
