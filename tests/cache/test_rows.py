import copy

import numpy as np
import pytest
import torch
from cache_samples import FORMATS, any_format, batch, keys, values
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cache.errors import UserError
from cache.rows import DTYPES, RowFormat, Rows

floats = hnp.arrays(np.float32, (4, 3), elements=st.floats(width=32, allow_nan=True, allow_infinity=True))


@given(floats)
def test_bfloat16_is_rounded_as_torch_rounds(array):
    row_format = RowFormat(3, "bfloat16")
    stored = row_format.encode(array)
    expected = torch.from_numpy(array).bfloat16()
    np.testing.assert_array_equal(row_format.decode(stored), expected.float().numpy())
    np.testing.assert_array_equal(row_format.not_finite(stored), ~np.isfinite(expected.float().numpy()).all(axis=1))
    assert row_format.as_torch(stored).dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_and_arrays_are_stored_alike(dtype):
    row_format = RowFormat(3, dtype)
    array = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    tensor = torch.from_numpy(array).to(getattr(torch, dtype))
    np.testing.assert_array_equal(row_format.encode(tensor), row_format.encode(array))
    assert torch.equal(row_format.as_torch(row_format.encode(tensor)), tensor)


@given(any_format)
def test_a_format_survives_json_and_copies(row_format):
    assert RowFormat.from_json(row_format.to_json()) == row_format
    assert copy.deepcopy(row_format) == row_format
    assert len({row_format, RowFormat.from_json(row_format.to_json())}) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "length of at least 1"),
        ((3, "float8"), "not as 'float8'"),
        ((3, "float32", False, {"valid frames": "int32"}), "plain name"),
        ((3, "float32", False, {"valid": "complex64"}), "plain name"),
    ],
)
def test_a_format_that_cannot_be_stored_is_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        RowFormat(*arguments)


@pytest.mark.parametrize("row_format", FORMATS, ids=str)
def test_rows_join_and_come_apart(row_format):
    rows = Rows.of(row_format, *batch(row_format, 1, 2, 3))
    joined = Rows.join(row_format, [rows.take(np.array(one, np.int64)) for one in ([2], [], [0, 1])])
    for i, expected in enumerate(values(row_format, 3, 1, 2)):
        np.testing.assert_array_equal(joined.row(i), expected)
    assert len(Rows.join(row_format, [])) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda k, v, s: (k, v[:2], s), "2 rows came with 3 keys"),
        (lambda k, v, s: (k, [v[0], v[1][:, :2], v[2]], s), r"row 1 has shape"),
        (lambda k, v, s: (k, [v[0], v[1], np.full((2, 4), np.inf)], s), r"row 2 \(key .*\) is not finite in float32"),
        (lambda k, v, s: ([k[0], k[1], k[0]], v, s), "twice"),
        (lambda k, v, s: (k, v, {}), r"it has extra values \[\], expected \['gain', 'valid_frames'\]"),
        (lambda k, v, s: (k, v, {**s, "gain": [1.0]}), "'gain' needs 3 finite numbers"),
        (lambda k, v, s: (k, v, {**s, "gain": [1.0, np.nan, 1.0]}), "'gain' needs 3 finite numbers"),
        (lambda k, v, s: (k, v, {**s, "valid_frames": [0.5, 1, 1]}), "'valid_frames' does not fit int64"),
    ],
)
def test_a_bad_ragged_batch_is_refused(change, message):
    with pytest.raises(UserError, match=message):
        Rows.of(FORMATS[3], *change(*batch(FORMATS[3], 1, 2, 3)))


def test_a_number_too_large_for_float16_is_refused_not_made_infinite():
    with pytest.raises(UserError, match="not finite in float16"):
        Rows.of(RowFormat(2, "float16"), keys(1), np.array([[1.0, 70000.0]]))
