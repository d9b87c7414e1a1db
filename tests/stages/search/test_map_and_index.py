"""Maps, indexes and exports of an embedding cache, over real rows of a made-up corpus."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cache.artifact import open_artifact, write_blocks
from cache.errors import UserError
from cache.rows import RowFormat, Rows
from cache.tables import CAPTIONS, CLIPS, PAIRS, write_table
from pipeline.config import layout
from stages.search import export
from stages.search.gallery import Gallery, unit
from stages.search.index import FILE, Index, build
from stages.search.map import project, read_map

N, DIM = 3000, 24


def rows(seed=0, n=N):
    generator, centres = np.random.default_rng(seed), np.random.default_rng(99).standard_normal((20, DIM))
    return (centres[generator.integers(0, 20, n)] + 0.5 * generator.standard_normal((n, DIM))).astype(np.float32)


def write(values, corpus="mine", encoder="net"):
    ids = [f"clip{number}" for number in range(len(values))]
    keys = np.zeros((len(values), 16), np.uint8)
    keys[:, :8] = np.ascontiguousarray(np.arange(1, len(values) + 1, dtype="<u8")).view(np.uint8).reshape(-1, 8)
    form = RowFormat(DIM, "float16")
    path = layout.embeddings(corpus, encoder, "clips")
    blocks = [Rows.of(form, keys, values)]
    write_blocks(path, form, ids, len(ids), blocks, {"modality": "clips", "fingerprint": str(values.sum())})
    return Gallery(open_artifact(path))


@pytest.fixture
def gallery(project):
    return write(rows())


def test_a_map_has_the_principal_components_and_the_same_bytes(gallery, hearonce):
    code, _, err = hearonce("map", "mine", "net")
    assert code == 0, err
    path = layout.map_of("mine", "net")
    first = path.read_bytes()
    assert hearonce("map", "mine", "net")[0] == 0 and path.read_bytes() == first
    table = pl.read_parquet(path)
    points = table.select("x", "y").to_numpy()
    whole = unit(np.asarray(gallery.artifact.numpy(), np.float32)).astype(np.float64)
    centred = whole - whole.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2]
    expected = centred @ axes[:2].T
    for axis in (0, 1):
        sign = np.sign(expected[0, axis] * points[0, axis])
        assert np.allclose(points[:, axis], sign * expected[:, axis], atol=1e-5)
    found = read_map("mine", "net")
    assert found["ids"][:2] == ["clip0", "clip1"] and found["method"] == "pca" and found["command"] is None
    write(rows(1))
    assert "older than the embeddings: run `hearonce map mine net`" in read_map("mine", "net")["command"]
    with pytest.raises(UserError, match="run `hearonce map mine other`"):
        read_map("mine", "other")


def test_maps_of_few_rows(project):
    for n in (1, 2, 3):
        assert project_of(write(rows(n=n))).shape == (n, 2)


def project_of(gallery):
    points = project(gallery)
    assert np.isfinite(points).all()
    return points


def test_an_index_finds_what_exact_search_finds(gallery, hearonce):
    pytest.importorskip("faiss")
    code, out, err = hearonce("index", "mine", "net")
    assert code == 0 and "recall@200" in out and "does not use this index" in out, err
    folder = layout.searching("mine", "net", "index")
    first = (folder / FILE).read_bytes()
    assert hearonce("index", "mine", "net")[0] == 0 and (folder / FILE).read_bytes() == first
    index = Index(gallery, folder)
    queries = rows(5, 100)
    sims, found = index.top(queries, 10)
    true_sims, true = gallery.top(queries, 10)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.tolist(), true.tolist(), strict=True)])
    assert recall >= 0.95 and json.loads((folder / "index.json").read_text())["recall"] >= 0.95
    same = found[:, 0] == true[:, 0]
    assert same.mean() > 0.95 and np.allclose(sims[same, 0], true_sims[same, 0], atol=1e-5)
    everything, numbers = index.top(queries[:1], N + 5)
    assert everything.shape == (1, N + 5) and (numbers[0, -5:] == -1).all()


def test_an_index_of_other_rows_or_with_a_flipped_bit_is_refused(gallery):
    pytest.importorskip("faiss")
    folder = layout.searching("mine", "net", "index")
    build(gallery, folder)
    with pytest.raises(UserError, match=r"is older than .* run `hearonce index` again"):
        Index(write(rows(1)), folder)
    gallery = write(rows())
    data = bytearray((folder / FILE).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / FILE).write_bytes(data)
    with pytest.raises(UserError, match=r"index.faiss is damaged: run `hearonce index` again"):
        Index(gallery, folder)
    (folder / "index.json").write_text("{")
    with pytest.raises(UserError, match="holds no index"):
        Index(gallery, folder)


def test_an_export_is_loaded_by_a_vector_database(gallery, hearonce, monkeypatch):
    ids = gallery.ids
    clips = pl.DataFrame({"clip_id": ids}).with_columns(media_id="clip_id", media_path=pl.lit("film.mp4"))
    clips = clips.with_columns(media_digest=pl.lit(""), start_s=pl.lit(1.0), stop_s=pl.lit(2.0))
    captions = pl.DataFrame({"caption_id": ["a"], "text": ["A dog barks."], "source": ["given"]})
    for name, table, schema in (
        ("clips", clips, CLIPS),
        ("captions", captions, CAPTIONS),
        ("pairs", pl.DataFrame({"clip_id": ["clip7"], "caption_id": ["a"]}), PAIRS),
    ):
        write_table(table.select(*schema), schema, layout.table("mine", name))
    monkeypatch.setattr(export, "PART_ROWS", 1024)
    code, out, err = hearonce("export", "mine", "net", "--out", "vectors")
    assert code == 0 and "3,000 clips in 3 files" in out, err
    table = pl.read_parquet("vectors/*.parquet")
    assert table["vector"].dtype == pl.Array(pl.Float32, DIM) and table["captions"][7].to_list() == ["A dog barks."]
    assert np.array_equal(table["vector"].to_numpy(), np.asarray(gallery.artifact.numpy(), np.float32))

    qdrant = pytest.importorskip("qdrant_client")
    client = qdrant.QdrantClient(":memory:")
    client.create_collection("clips", qdrant.models.VectorParams(size=DIM, distance=qdrant.models.Distance.COSINE))
    few = table[:300]
    points = [
        qdrant.models.PointStruct(id=number, vector=row["vector"], payload={"id": row["id"], "file": row["file"]})
        for number, row in enumerate(few.iter_rows(named=True))
    ]
    client.upsert("clips", points)
    query = rows(9, 1)[0]
    answer = client.query_points("clips", query=query.tolist(), limit=5).points
    allowed = np.zeros(N, bool)
    allowed[:300] = True
    _, expected = gallery.top(query[None], 5, allowed)
    assert [point.payload["id"] for point in answer] == [ids[row] for row in expected[0]]
    code, _, err = hearonce("export", "mine", "net", "--out", "vectors")
    assert code == 2 and "vectors exists: name a new folder" in err
    with pytest.raises(UserError, match="is missing"):
        export.export_vectors("mine", "other", Path("x"))


def test_rows_read_again_are_converted_alike_wherever_they_begin(project, monkeypatch):
    monkeypatch.setattr("cache.formats.zarr_reader.LARGE", 0)
    artifact = write(rows(n=2500)).artifact
    whole = np.asarray(artifact.numpy(), np.float32)
    for _ in range(2):  # the first reading checks and converts by numpy
        for start, stop in ((0, 2500), (1, 2), (0, 1), (5, 5), (680, 690), (1360, 2049), (683, 1365), (2499, 2500)):
            assert np.array_equal(artifact.read_float32(start, stop), whole[start:stop]), (start, stop)
