import os
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cache.errors import UserError
from pipeline.formats.pickled_arrays import read_array


@given(
    arrays.arrays(st.sampled_from(["<f8", ">f8", "<f4", "i2", "?", "u1"]), arrays.array_shapes(min_side=0)),
    st.integers(0, pickle.HIGHEST_PROTOCOL),
    st.booleans(),
)
def test_arrays_of_numbers_of_every_protocol(tmp_path_factory, array, protocol, fortran):
    path = tmp_path_factory.mktemp("pickle") / "a.pkl"
    array = np.asfortranarray(array) if fortran else array
    path.write_bytes(pickle.dumps(array, protocol))
    found = read_array(path)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


class Harmful:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder / "made-by-a-pickle"),)


def test_nothing_that_a_pickle_names_is_run(tmp_path):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([np.eye(2), Harmful(tmp_path)]))
    with pytest.raises(UserError, match=r"a\.pkl is no pickled numpy array of numbers \(it names \w+\.mkdir, which is"):
        read_array(tmp_path / "a.pkl")
    assert not (tmp_path / "made-by-a-pickle").exists()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([1.0], "it holds a list"),
        ({"a": np.eye(2)}, "it holds a dict"),
        (np.array(["text"]), "values of type 'U4', not numbers"),
        (np.array([None]), "values of type 'O8', not numbers"),
        (np.float64(3), "it holds a float"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused(tmp_path, value, reason):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(value))
    with pytest.raises(UserError, match=reason):
        read_array(tmp_path / "a.pkl")


@pytest.mark.parametrize("kept", [0, 1, 20, -1, -50])
def test_a_file_that_ends_too_early_is_said_to(tmp_path, kept):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(np.arange(100.0))[:kept])
    with pytest.raises(UserError, match="no pickled numpy array of numbers"):
        read_array(tmp_path / "a.pkl")


def test_a_shape_that_the_bytes_do_not_fill_is_refused(tmp_path):
    whole = pickle.dumps(np.arange(100.0), 2)
    assert whole.count(b"Kd\x85") == 1  # the shape (100,)
    (tmp_path / "a.pkl").write_bytes(whole.replace(b"Kd\x85", b"Ke\x85"))
    with pytest.raises(UserError, match="it holds 800 bytes for an array of shape"):
        read_array(tmp_path / "a.pkl")
    with pytest.raises(UserError, match=r"b\.pkl is missing"):
        read_array(tmp_path / "b.pkl")
