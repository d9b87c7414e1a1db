"""Approximate search: an inverted file over an embedding cache (faiss), for corpora beyond 10^5 clips.

Rows are assigned to the nearest of about 2 sqrt(n) centroids (H. Jégou et al., Product Quantization for Nearest
Neighbor Search, 2011) and kept in one byte a number; a query is compared with the rows of the centroids nearest to it,
and the best of these are compared exactly, with the rows of the embedding cache. How many centroids are visited is
measured when the index is built: the fewest that find `RECALL` of the true `DEPTH` nearest rows of a sample of queries,
which are captions of the corpus where the encoder has embedded them, for texts often lie elsewhere than clips.

The package `faiss-cpu` is optional (`uv sync --extra index`). Clustering is seeded and runs in one thread.
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from cache.artifact import open_artifact
from cache.durable import new_directory
from cache.errors import UserError
from pipeline.config import layout
from stages.search.gallery import Floats, Gallery, unit

SMALLEST = 100_000
"""Rows from which on search uses an index; below it is hardly faster."""

RECALL, DEPTH = 0.95, 200
SAMPLES = 200
"""Queries that the number of centroids to visit is measured with: captions, or else rows moved a little."""

PER_CENTROID = 48
"""Rows for each centroid that the clustering is trained on."""

CANDIDATES, LEAST_CANDIDATES = 2, 100
"""Rows compared exactly for each one that is asked for, and the fewest; one byte a number misplaces few of them."""

BLOCK_ROWS = 1 << 15
FILE, NOTE = "index.faiss", "index.json"
VERSION = 2


class Index:
    """An index of an embedding cache, opened for search.

    Args:
        gallery: the rows that it was built of.
        folder: that `build` has made.

    Raises:
        UserError: there is none, it is damaged, or it is of other rows; says what to run.
    """

    def __init__(self, gallery: Gallery, folder: Path) -> None:
        faiss = _faiss()
        note = _note(folder)
        if note.get("embeddings") != gallery.identity():
            raise UserError(f"{folder} is older than {gallery.artifact.path}: run `hearonce index` again.")
        data = (folder / FILE).read_bytes()
        if hashlib.blake2b(data, digest_size=16).hexdigest() != note.get("digest"):
            raise UserError(f"{folder / FILE} is damaged: run `hearonce index` again.")
        self._index = faiss.deserialize_index(np.frombuffer(data, np.uint8))
        self._index.nprobe = int(note["visited"])
        self._gallery = gallery
        self.recall: float = note["recall"]

    def top(self, queries: Floats, k: int) -> tuple[Floats, NDArray[np.int64]]:
        """The nearest rows of each query that are found, best first, with their exact similarities.

        Args:
            queries: float32 (q, dim).
            k: at most so many.

        Returns:
            Similarities float32 (q, k), and row numbers (q, k); -inf and -1 where fewer are found.
        """
        queries = unit(queries)
        wanted = min(len(self._gallery), max(LEAST_CANDIDATES, CANDIDATES * k))
        _, found = self._index.search(queries, wanted)
        sims, rows = np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1, np.int64)
        for number, candidates in enumerate(found):
            candidates = np.sort(candidates[candidates >= 0])
            exact = self._gallery.vectors(candidates.tolist()) @ queries[number]
            order = np.lexsort((candidates, -exact))[:k]
            sims[number, : len(order)], rows[number, : len(order)] = exact[order], candidates[order]
        return sims, rows


def build(gallery: Gallery, folder: Path, captions: Gallery | None = None) -> dict[str, Any]:
    """Builds an index and writes it as a folder, whole or not at all.

    Args:
        gallery: rows of one length.
        folder: `index.faiss` and `index.json`, replaced if it exists.
        captions: of the same encoder, as sample queries.

    Returns:
        What `index.json` says: centroids, how many are visited, the measured recall, ...
    """
    faiss = _faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        n, dim = len(gallery), gallery.dim
        centroids = max(1, min(n // 39, round(2 * n**0.5)))
        quantizer = faiss.IndexFlatIP(dim)
        metric = faiss.METRIC_INNER_PRODUCT
        index = faiss.IndexIVFScalarQuantizer(quantizer, dim, centroids, faiss.ScalarQuantizer.QT_8bit, metric)
        index.cp.seed, index.cp.niter = 17, 10
        generator = np.random.default_rng(17)
        sample = np.sort(generator.choice(n, min(n, PER_CENTROID * centroids), replace=False))
        index.train(gallery.vectors(sample.tolist()))
        for start in range(0, n, BLOCK_ROWS):
            index.add(unit(gallery.artifact.read_float32(start, min(n, start + BLOCK_ROWS))))
        recall, visited = _measured(index, gallery, _samples(captions or gallery, captions is None, generator))
        data = faiss.serialize_index(index)
    finally:
        faiss.omp_set_num_threads(before)
    note = {
        "version": VERSION,
        "embeddings": gallery.identity(),
        "digest": hashlib.blake2b(data.tobytes(), digest_size=16).hexdigest(),
        "rows": n,
        "centroids": centroids,
        "visited": visited,
        "recall": round(recall, 4),
        "faiss": faiss.__version__,
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    with new_directory(folder) as temporary:
        (temporary / FILE).write_bytes(data.tobytes())
        (temporary / NOTE).write_text(json.dumps(note, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return note


def _samples(source: Gallery, moved: bool, generator: np.random.Generator) -> Floats:
    rows = np.sort(generator.choice(len(source), min(len(source), SAMPLES), replace=False))
    queries = source.vectors(rows.tolist())
    return unit(queries + 0.5 * unit(generator.standard_normal(queries.shape).astype(np.float32))) if moved else queries


def _measured(index: Any, gallery: Gallery, queries: Floats) -> tuple[float, int]:
    """Recall of the `DEPTH` nearest rows, and centroids visited, at the fewest that reach `RECALL`."""
    k = min(DEPTH, len(gallery))
    _, true = gallery.top(queries, k)
    visited = 1
    while True:
        index.nprobe = visited
        _, found = index.search(queries, min(len(gallery), max(LEAST_CANDIDATES, CANDIDATES * k)))
        recall = float(np.mean([len(set(a) & set(b)) / k for a, b in zip(true.tolist(), found.tolist(), strict=True)]))
        if recall >= RECALL or visited >= index.nlist:
            return recall, visited
        visited = min(index.nlist, max(visited + 1, round(visited * 1.4)))


def _note(folder: Path) -> dict[str, Any]:
    try:
        note = json.loads((folder / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        note = None
    if not isinstance(note, dict) or note.get("version") != VERSION:
        raise UserError(f"{folder} holds no index that this version reads: run `hearonce index` again.")
    return note


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise UserError("An index needs the package faiss-cpu: run `uv sync --extra index`.") from None
    return faiss


def index_command(
    corpus: Annotated[str, typer.Argument(help="A corpus of params.yaml.")],
    encoder: Annotated[str, typer.Argument(help="An encoder that has embedded its clips.")],
) -> None:
    """Build an index of the cached embeddings of a corpus's clips, for search beyond 100,000 clips."""
    path = layout.embeddings(corpus, encoder, "clips")
    if not path.exists():
        raise UserError(f"{path} is missing: run `dvc repro`, or `hearonce embed {corpus} {encoder}`.")
    _faiss()
    gallery, started = Gallery(open_artifact(path)), time.perf_counter()
    if not len(gallery):
        raise UserError(f"{path} holds no rows: there is nothing to index.")
    folder = layout.searching(corpus, encoder, "index")
    texts = layout.embeddings(corpus, encoder, "captions")
    captions = Gallery(open_artifact(texts)) if texts.exists() else None
    note = build(gallery, folder, captions if captions is not None and len(captions) else None)
    print(
        f"{folder}: {note['rows']} clips, {note['visited']} of {note['centroids']} centroids visited, recall@{DEPTH} "
        f"{note['recall']:.3f}; {time.perf_counter() - started:.1f} s"
    )
    if note["rows"] < SMALLEST:
        print(f"Search compares all clips of a corpus of fewer than {SMALLEST:,}: it does not use this index.")
