"""One side of an encoder on a corpus: missing rows into the row store, then the artifact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cache.artifact_writer import write_artifact
from cache.errors import UserError
from cache.location import Store
from cache.row_format import RowFormat
from cache.row_store import RowStore
from pipeline import layout
from pipeline.embedding_run import Encoding, Reader, Row, embed_missing
from pipeline.fingerprints import fingerprint_of
from pipeline.previous_artifact import warm
from pipeline.problems import Problems
from pipeline.summary import Summary
from stages.embed.encoder import Modality


@dataclass(frozen=True)
class RunOptions:
    """How one run goes about it; none of these changes a result by more than rounding."""

    strict: bool
    keep_going: bool
    workers: int | None
    batch_size: int
    device: str | None
    compiled: bool = False


@dataclass(frozen=True)
class Side:
    """What is embedded.

    Attributes:
        corpus: whose clips or captions.
        encoder: name of the encoder.
        modality: `clips` or `captions`.
        identity: all that decides a row, see `Encoder.clip_identity`.
        format: of the rows.
        name: of the artifact, where an encoder has several sides of a modality.
    """

    corpus: str
    encoder: str
    modality: Modality
    identity: Mapping[str, Any]
    format: RowFormat
    name: str = ""


def embed_side(
    side: Side,
    rows: list[Row],
    read: Reader,
    load: Callable[[], tuple[Encoding, Mapping[str, Any]]],
    options: RunOptions,
    problems: Problems,
    note: str = "",
) -> str:
    """Computes what is missing and writes the artifact.

    Args:
        side: what is embedded.
        rows: all wanted rows, in table order.
        read: reads one group of rows.
        load: loads the tower and describes the device; not called when nothing is missing.
        options: of the run.
        problems: collects failures.
        note: for the summary.

    Returns:
        The summary line.
    """
    fingerprint, identity = fingerprint_of(side.identity)
    store = RowStore.ensure(Store.default().rows, side.modality, fingerprint, side.format, identity)
    name = side.name or side.modality
    stage = f"embed_{name}"
    summary = Summary(f"{stage} {side.corpus} {side.encoder}", note=note)
    out = layout.embeddings(side.corpus, side.encoder, name)
    with summary.timed("warm"):
        missing = warm(store, out, store.missing([row.key for row in rows]), summary.remark)
    failed = embed_missing(
        rows,
        store,
        read,
        load,
        problems=problems,
        summary=summary,
        missing=missing,
        batch_size=options.batch_size,
        workers=options.workers,
    )
    present = [row for row in rows if row.key not in failed]
    keys = [row.key for row in present]
    with summary.timed("write"):
        description = {"modality": side.modality, "encoder": side.encoder, "fingerprint": fingerprint}
        try:
            write_artifact(out, [row.id for row in present], keys, store, description)
        except KeyError:
            raise UserError(
                f"{len(store.missing(keys))} rows have vanished from {store.path} while {stage} ran (has somebody "
                "dropped rows with `hearonce cache gc`?): run again."
            ) from None
    return summary.line()
