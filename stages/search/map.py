"""A map of a corpus: its clips in two dimensions, so that alike ones stand together.

By default the two principal components of the clip embeddings of unit length (K. Pearson, 1901), from the covariance
in float64: exact, and the same bytes at every run. With `--method umap` by UMAP (https://arxiv.org/abs/1802.03426),
where the package `umap-learn` is installed; seeded, but not the same on other machines.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import numpy as np
import polars as pl
import typer
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from cache.artifact import open_artifact
from cache.errors import UserError
from cache.tables import MAP, read_note, read_table, write_table
from pipeline.config import layout
from stages.search.gallery import Gallery, unit

NOTE = "hearonce.map"
BLOCK_ROWS = 1 << 14

Method = Literal["pca", "umap"]


def project(gallery: Gallery, method: Method = "pca") -> NDArray[np.float32]:
    """Two coordinates of each row, float32 (n, 2).

    Args:
        gallery: rows of one length, n of them.
        method: see above.

    Raises:
        UserError: the method's package is missing, or the cache is damaged.
    """
    if method == "umap":
        return _umap(gallery)
    with threadpool_limits(1):  # sums in one order
        return _principal(gallery)


def _principal(gallery: Gallery) -> NDArray[np.float32]:
    mean = np.zeros(gallery.dim)
    for rows in _blocks(gallery):
        mean += rows.sum(axis=0)
    mean /= max(1, len(gallery))
    covariance = np.zeros((gallery.dim, gallery.dim))
    for rows in _blocks(gallery):
        centred = rows - mean
        covariance += centred.T @ centred
    _, vectors = np.linalg.eigh(covariance)
    axes = vectors[:, ::-1][:, :2]
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), [0, 1][: axes.shape[1]]] < 0, -1, 1)
    found = [((rows - mean) @ axes).astype(np.float32) for rows in _blocks(gallery)]
    points = np.concatenate(found) if found else np.zeros((0, 2), np.float32)
    return np.pad(points, ((0, 0), (0, 2 - points.shape[1])))


def _blocks(gallery: Gallery) -> Any:
    for start in range(0, len(gallery), BLOCK_ROWS):
        stop = min(len(gallery), start + BLOCK_ROWS)
        yield unit(gallery.artifact.read_float32(start, stop)).astype(np.float64)


def _umap(gallery: Gallery) -> NDArray[np.float32]:
    try:
        import umap  # type: ignore[import-not-found]
    except ImportError:
        raise UserError(
            "--method umap needs a package: `uv pip install umap-learn`, or take the default, pca."
        ) from None
    rows = np.concatenate(list(_blocks(gallery))).astype(np.float32)
    return np.asarray(umap.UMAP(metric="cosine", random_state=0, n_jobs=1).fit_transform(rows), np.float32)


def map_command(
    corpus: Annotated[str, typer.Argument(help="A corpus of params.yaml.")],
    encoder: Annotated[str, typer.Argument(help="An encoder that has embedded its clips.")],
    method: Annotated[Method, typer.Option(help="pca, or umap where umap-learn is installed.")] = "pca",
) -> None:
    """Place the clips of a corpus on a map by their cached embeddings, for the search page."""
    path = layout.embeddings(corpus, encoder, "clips")
    if not path.exists():
        raise UserError(f"{path} is missing: run `dvc repro`, or `hearonce embed {corpus} {encoder}`.")
    gallery = Gallery(open_artifact(path))
    points = project(gallery, method)
    table = pl.DataFrame({"clip_id": gallery.ids, "x": points[:, 0], "y": points[:, 1]}, schema=MAP)
    note = json.dumps({"method": method, "embeddings": gallery.identity()}, sort_keys=True)
    write_table(table, MAP, layout.map_of(corpus, encoder), {NOTE: note})
    print(f"{layout.map_of(corpus, encoder)}: {len(table)} clips, by {method}")


def read_map(corpus: str, encoder: str) -> dict[str, Any]:
    """A map as the search page takes it: `ids`, `x`, `y`, `method`, and `command` if it is older than the embeddings.

    Raises:
        UserError: there is none; says what to run.
    """
    path, command = layout.map_of(corpus, encoder), f"hearonce map {corpus} {encoder}"
    if not path.is_file():
        raise UserError(f"There is no map of {corpus!r} by {encoder!r} yet: run `{command}`.")
    table = read_table(path, MAP)
    note = json.loads(read_note(path, NOTE) or "{}")
    embeddings = layout.embeddings(corpus, encoder, "clips")
    current = embeddings.exists() and Gallery(open_artifact(embeddings)).identity() == note.get("embeddings")
    return {
        "ids": table["clip_id"].to_list(),
        "x": table["x"].to_list(),
        "y": table["y"].to_list(),
        "method": note.get("method", "pca"),
        "command": None if current else f"The map is older than the embeddings: run `{command}`.",
    }
