import numpy as np
from cache_samples import keys

from cache.keys import pack_keys
from cache.row_store import RowStore
from cache.rows import RowFormat
from cache.upkeep.compaction import compact


def test_a_lookup_follows_what_is_committed_and_merged(tmp_path):
    store = RowStore.ensure(tmp_path, "clips", "ab" * 16, RowFormat(1))
    found = store.lookup(keys(3, 1, 2, 3))
    assert found.missing().tolist() == [0, 1, 2] and (found.rows == -1).all()
    store.append(keys(1, 2), np.array([[1], [2]], np.float32))
    assert found.missing().tolist() == [0]
    store.append(keys(3), np.array([[3]], np.float32))
    assert not len(found.missing())
    compact(RowStore.open(store.path))
    assert store.read_rows(found).numpy().ravel().tolist() == [3, 1, 2, 3]
    assert np.array_equal(found.keys, pack_keys(keys(3, 1, 2, 3)))
    assert [rows.numpy().ravel().tolist() for rows in store.blocks(found)] == [[3, 1, 2, 3]]
