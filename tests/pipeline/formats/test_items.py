import contextlib
import io
import os
import pickle
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.errors import UserError
from pipeline.formats.pickled_items import PickledItems, values_of

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
plain = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9) | st.binary(max_size=9)
)
nested = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


FOUR = torch.storage.TypedStorage(wrap_storage=torch.zeros(4).untyped_storage(), dtype=torch.float32, _internal=True)


def written(folder, value, protocol=4):
    path = folder / "items.pkl"
    path.write_bytes(pickle.dumps(value, protocol))
    return path


@settings(max_examples=60)
@given(st.lists(st.dictionaries(st.text(max_size=3), nested, max_size=3), max_size=5), st.sampled_from(PROTOCOLS))
def test_items_are_those_that_were_pickled(tmp_path_factory, items, protocol):
    if protocol < 3 and b"bytes" in pickle.dumps(items, protocol):
        return  # protocols 0 to 2 call the class `bytes`
    assert list(PickledItems(written(tmp_path_factory.mktemp("items"), items, protocol))) == items


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_shared_objects_and_long_lists_and_dicts(tmp_path, protocol):
    shared = {"text": "again", "numbers": list(range(5))}
    items = [{"one": shared, "id": n} for n in range(2500)] + [shared, shared, {str(n): n for n in range(2500)}]
    assert list(PickledItems(written(tmp_path, items, protocol))) == items
    clips = {f"video{n}": {"start": [0.5], "text": ["again", str(n)]} for n in range(2500)}
    assert list(PickledItems(written(tmp_path, clips, protocol))) == list(clips.items())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_and_tensors(tmp_path, protocol):
    base = torch.arange(240, dtype=torch.float32).reshape(6, 40)
    tensors = [base, base.T, base[2:4, 3:30:2], base.half(), base.double(), torch.tensor(3.0), torch.zeros(40, 0)]
    arrays = [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.eye(3, dtype="f4")),
        np.array(2.5),
        np.zeros((0, 4), "f2"),
    ]
    item = {f"t{n}": one for n, one in enumerate(tensors)} | {f"a{n}": one for n, one in enumerate(arrays)}
    item |= {"number": np.float32(1.5), "count": np.int64(-3), "name": np.str_("Köln")}
    (found,) = PickledItems(written(tmp_path, [item], protocol))
    for n, one in enumerate(tensors):
        assert values_of(found[f"t{n}"]).dtype == one.numpy().dtype
        np.testing.assert_array_equal(values_of(found[f"t{n}"]), one.numpy())
    for n, one in enumerate(arrays):
        np.testing.assert_array_equal(values_of(found[f"a{n}"]), one)
    assert (found["number"], found["count"], found["name"]) == (1.5, -3, "Köln")
    (found,) = PickledItems(written(tmp_path, [{"b": base.bfloat16()}], protocol))
    np.testing.assert_array_equal(values_of(found["b"]), base.bfloat16().float())


class Harmful:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder / "made-by-a-pickle"),)


class LoadsBytes:
    """What a pickled storage looks like, with other bytes."""

    def __init__(self, data):
        self.data = data

    def __reduce__(self):
        return torch.storage._load_from_bytes, (self.data,)


class Rebuilt:
    def __init__(self, *arguments):
        self.arguments = arguments

    def __reduce__(self):
        return torch._utils._rebuild_tensor_v2, self.arguments


def saved(value):
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_that_a_pickle_names_is_run(tmp_path, protocol):
    path = written(tmp_path, [{"id": "a"}, {"id": Harmful(tmp_path)}], protocol)
    with pytest.raises(
        UserError, match=r"items\.pkl cannot be read after item \d \(it names \w+\.mkdir, which is not read\)"
    ):
        list(PickledItems(path))
    assert not (tmp_path / "made-by-a-pickle").exists()


@pytest.mark.parametrize("new", [False, True])
def test_nor_what_the_bytes_of_a_tensor_name(tmp_path, new):
    buffer = io.BytesIO()
    torch.save(Harmful(tmp_path), buffer, _use_new_zipfile_serialization=new)
    for data in (buffer.getvalue(), pickle.dumps(Harmful(tmp_path))):
        item = {"audio": Rebuilt(LoadsBytes(data), 0, (2,), (1,), False, {})}
        (found,) = PickledItems(written(tmp_path, [item]))
        with pytest.raises(pickle.UnpicklingError, match="a tensor that cannot be read safely"):
            values_of(found["audio"])
    assert not (tmp_path / "made-by-a-pickle").exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((LoadsBytes(saved(FOUR)), 2, (3,), (1,)), "4 numbers for a tensor of shape"),
        ((LoadsBytes(saved(FOUR)), -1, (2,), (1,)), "4 numbers for a tensor of shape"),
        ((LoadsBytes(saved(FOUR)), 3, (4,), (-1,)), None),
        ((LoadsBytes(saved(FOUR)), 0, (4,), (-1,)), "4 numbers for a tensor of shape"),
        ((LoadsBytes(saved({"a": 1})), 0, (1,), (1,)), "it holds a dict for a tensor"),
        ((LoadsBytes(b""), 0, (1,), (1,)), "cannot be read safely"),
    ],
)
def test_a_tensor_beyond_its_storage_is_refused(tmp_path, arguments, reason):
    (found,) = PickledItems(written(tmp_path, [{"audio": Rebuilt(*arguments, False, {})}]))
    if reason is None:
        assert values_of(found["audio"]).shape == (4,)
        return
    with pytest.raises(pickle.UnpicklingError, match=reason):
        values_of(found["audio"])


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (3, "neither a list nor a dict"),
        ({1, 2}, "which is not read"),
        ([{"a": np.array([None])}], None),
        ([{"a": complex(1, 2)}], r"it names \w+\.complex"),
        ([{"a": torch.nn.Linear(1, 1)}], "it names torch.nn.modules"),
    ],
)
def test_what_is_no_list_of_clips_is_refused(tmp_path, value, reason):
    if reason is None:
        (found,) = PickledItems(written(tmp_path, value))
        with pytest.raises(pickle.UnpicklingError, match="not numbers"):
            values_of(found["a"])
        return
    with pytest.raises(UserError, match=reason):
        list(PickledItems(written(tmp_path, value)))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_file_that_ends_too_early_is_refused_wherever_it_ends(tmp_path, protocol):
    path = written(tmp_path, [{"id": "a", "2d": np.arange(3.0), "audio": torch.ones(2, 3)}, {"id": "b"}], protocol)
    data = path.read_bytes()
    for kept in range(0, len(data), 7 if protocol else 29):
        path.write_bytes(data[:kept])
        with pytest.raises(UserError, match=r"items\.pkl cannot be read after item 0 .*fetch it again"):
            list(PickledItems(path))
    with pytest.raises(UserError, match=r"none\.pkl is missing: fetch it again"):
        PickledItems(tmp_path / "none.pkl")


CHANGED = {
    protocol: pickle.dumps(
        [{"id": "a", "2d": np.arange(3.0), "caption": ["x", "y"]}, {"id": "b", "audio": torch.ones(2, 3)}], protocol
    )
    for protocol in PROTOCOLS
}
"""Made once: torch writes a tensor in a few bytes more or less each time."""


@pytest.mark.parametrize("name", [b"\x008", b"O8", b"9,", b"V8"])
def test_a_type_that_changed_bytes_name_is_refused_as_one_that_is_no_number(tmp_path, name):
    path = tmp_path / "items.pkl"
    path.write_bytes(pickle.dumps([{"2d": np.arange(3.0)}], 2).replace(b"f8", name))
    (item,) = PickledItems(path)
    with pytest.raises(pickle.UnpicklingError, match="it holds"):
        values_of(item["2d"])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_changed_bytes_never_end_in_anything_but_a_sentence(tmp_path_factory, data):
    protocol = data.draw(st.sampled_from(PROTOCOLS))
    content = bytearray(CHANGED[protocol])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("changed") / "items.pkl"
    path.write_bytes(content)
    try:
        for item in PickledItems(path):
            for value in item.values() if isinstance(item, dict) else ():
                with contextlib.suppress(pickle.UnpicklingError):
                    values_of(value)
    except UserError as error:
        assert "items.pkl cannot be read after item" in str(error)


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_file_is_read_in_the_memory_of_two_items(tmp_path, protocol):
    """30 MB of 1 MB items; `pickle` holds all of them, in the list and in its memo."""
    items = [
        {"id": str(n), "2d": np.full(131_072, n, "f4"), "audio": torch.full((40, 3277), float(n))} for n in range(30)
    ]
    path = written(tmp_path, items, protocol)
    del items
    tracemalloc.start()
    try:
        total = sum(float(values_of(item["2d"])[0]) for item in PickledItems(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == sum(range(30))
    assert peak < 6e6
