import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.artifact import open_artifact, write_blocks
from cache.errors import UserError
from cache.rows import RowFormat, Rows
from stages.search.gallery import Gallery, best, unit


def write(path, values, dtype="float32", ragged=False):
    keys = np.zeros((len(values), 16), np.uint8)
    keys[:, :8] = np.arange(1, len(values) + 1).astype("<u8").view(np.uint8).reshape(-1, 8)
    row_format = RowFormat(values.shape[-1], dtype)
    ids = [f"clip{i}" for i in range(len(values))]
    write_blocks(path, row_format, ids, len(ids), [Rows.of(row_format, keys, values)], {"modality": "clips"})
    return open_artifact(path)


@pytest.mark.parametrize("suffix", ["zarr", "h5"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_similarities_are_cosines_of_the_stored_rows(tmp_path, dtype, suffix, monkeypatch):
    monkeypatch.setattr("stages.search.gallery.BLOCK_BYTES", 4 * 40 * 300)  # blocks that end within chunks
    generator = np.random.default_rng(0)
    artifact = write(tmp_path / f"a.{suffix}", generator.standard_normal((3_000, 40)).astype(np.float32), dtype)
    stored = unit(np.asarray(artifact.numpy(), np.float32))
    queries = generator.standard_normal((3, 40)).astype(np.float32)
    gallery = Gallery(artifact, threads=2)
    for _ in range(2):  # the second time lengths are known
        np.testing.assert_allclose(gallery.similarities(queries), unit(queries) @ stored.T, atol=1e-6)
    sims, rows = gallery.top(queries, 10)
    assert (rows == np.argsort(-(unit(queries) @ stored.T), axis=1)[:, :10]).all()
    assert (np.diff(sims, axis=1) <= 0).all()
    only = np.zeros(3_000, bool)
    only[[5, 7, 2_999]] = True
    assert sorted(gallery.top(queries[:1], 10, only)[1][0].tolist()) == [5, 7, 2_999]
    np.testing.assert_allclose(gallery.vectors([7])[0], stored[7], atol=1e-6)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40), st.integers(0, 45))
@settings(deadline=None)
def test_the_best_are_the_first_of_a_stable_sort(values, k):
    sims = np.array([values], np.float32)
    found, columns = best(sims, k)
    order = np.lexsort((columns[0], -found[0]))
    assert columns[0][order].tolist() == np.argsort(-sims[0], kind="stable")[:k].tolist()


def test_a_flipped_bit_is_noticed_at_the_first_search(tmp_path):
    artifact = write(tmp_path / "a.zarr", np.ones((100, 16), np.float32))
    (shard,) = (tmp_path / "a.zarr/values").glob("c.*")
    data = bytearray(shard.read_bytes())
    data[50] ^= 1
    shard.write_bytes(data)
    with pytest.raises(UserError, match=r"a\.zarr is damaged.*does not match its checksum"):
        Gallery(artifact).similarities(np.ones((1, 16), np.float32))


def test_queries_of_another_encoder_are_refused(tmp_path):
    gallery = Gallery(write(tmp_path / "a.zarr", np.ones((2, 16), np.float32)))
    with pytest.raises(UserError, match="rows of 16 numbers and the query has 8"):
        gallery.similarities(np.ones((1, 8), np.float32))
    zero = Gallery(write(tmp_path / "b.zarr", np.zeros((2, 16), np.float32)))
    assert zero.similarities(np.ones((1, 16), np.float32)).tolist() == [[0, 0]]


def test_many_queries_over_many_blocks_with_equal_rows(tmp_path, monkeypatch):
    monkeypatch.setattr("stages.search.gallery.BLOCK_BYTES", 4 * 24 * 64)
    generator = np.random.default_rng(4)
    rows = np.repeat(generator.standard_normal((200, 24)), 5, axis=0).astype(np.float32)[generator.permutation(1000)]
    gallery = Gallery(write(tmp_path / "a.zarr", rows), threads=2)
    queries = generator.standard_normal((40, 24)).astype(np.float32)
    allowed = generator.random(1000) < 0.7
    for mask in (None, allowed):
        sims, found = gallery.top(queries, 12, mask)
        whole = gallery.similarities(queries)
        if mask is not None:
            whole[:, ~mask] = -np.inf
        for query in range(40):
            values = np.sort(whole[query])[::-1][:12]
            assert np.allclose(sims[query], values, atol=1e-6)
            assert len(set(found[query].tolist())) == 12 and np.allclose(whole[query, found[query]], values, atol=1e-6)
    for first, second in zip(found[0], found[0][1:], strict=False):
        assert first < second or not np.array_equal(rows[first], rows[second])
    assert gallery.top(queries[:0], 5)[0].shape == (0, 0) and gallery.top(queries, 0)[0].shape == (40, 0)
