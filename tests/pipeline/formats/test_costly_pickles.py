"""A few hundred bytes that stand for more than any machine has time for: refused, or read in a moment."""

import pickle
import struct
import time

import numpy as np
import pytest

from cache.errors import UserError
from pipeline.formats.avlnet_pickles import ClipPickles
from pipeline.formats.pickled_arrays import read_array
from pipeline.formats.pickled_items import PickledItems, values_of

DEPTH = 60


def quickly(call):
    began = time.process_time()
    with pytest.raises((UserError, pickle.UnpicklingError)) as caught:
        call()
    assert time.process_time() - began < 5 and "\n" not in str(caught.value) and len(str(caught.value)) < 600
    return str(caught.value)


@pytest.mark.parametrize("key", ["caption", "eval_caption", "video_id", "id", "start"])
def test_nested_lists_are_no_text(tmp_path, key):
    path = tmp_path / "clips.pkl"
    name = b"\x8c\x02id\x8c\x01a" * (key != "id")
    path.write_bytes(b"\x80\x04]\x94}\x94(" + name + b"\x8c" + bytes([len(key)]) + key.encode() + nested(2) + b"ua.")
    assert path.stat().st_size < 2000
    assert "clips.pkl item 0" in quickly(lambda: list(ClipPickles({"train": path})))


def nested(first):
    """A list that holds lists that hold lists, in the memo from `first` on."""
    parts = [b"]\x94\x8c\x01xa0"]
    for number in range(first + 1, first + DEPTH):
        parts.append(b"]\x94(" + (b"h" + bytes([number - 1])) * 10 + b"e0")
    return b"".join(parts) + b"h" + bytes([first + DEPTH - 1])


def pairs(first):
    parts = [b"\x8c\x01x\x94"]
    for number in range(first, first + DEPTH):
        parts.append(b"0" + (b"h" + bytes([number])) * 2 + b"\x86\x94")
    return b"".join(parts)


ORDERED = b"\x80\x04]\x94}\x94(\x8c\x02id\x8c\x0bcollections\x8c\x0bOrderedDict\x93"


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04]\x94}\x94(" + pairs(2) + b"K\x01ua.",
        b"\x80\x04]\x94}\x94(" + b"\x8c\x02id" + b"\x8c\x06collec\x93" + b"ua.",
        b"\x80\x04]\x94}\x94(\x8c\x02id" + pairs(2) + pairs(2 + DEPTH + 1) + b"\x93ua.",
        ORDERED + b"](" + pairs(2) + b"K\x01\x86e\x85Rua.",
    ],
)
def test_nothing_is_hashed_that_is_neither_text_nor_number(tmp_path, data):
    path = tmp_path / "items.pkl"
    path.write_bytes(data)
    quickly(lambda: list(PickledItems(path)))


@pytest.mark.parametrize("data", [b"\x80\x04}" + pairs(0) + b"K\x01s.", b"\x80\x04\x8f(" + pairs(0) + b"\x90."])
def test_nor_in_the_pickle_of_an_array(tmp_path, data):
    path = tmp_path / "a.pkl"
    path.write_bytes(data)
    assert "it holds a dict or a set" in quickly(lambda: read_array(path))


def test_shapes_of_arrays_and_tensors_are_sizes(tmp_path):
    path = tmp_path / "a.pkl"
    begin = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R(K\x01"
    type_ = b"cnumpy\ndtype\nX\x02\x00\x00\x00f4\x85R"
    large = b"\x8a\x08" + b"\xff" * 7 + b"\x7f"
    for shape in (b"X\x01\x00\x00\x00x\x85", b"(" + large * 50_000 + b"t"):
        path.write_bytes(begin + shape + type_ + b"\x89C\x04abcdtb.")
        assert "whose shape is none" in quickly(lambda: read_array(path))


def test_deep_nesting_and_long_numbers(tmp_path):
    path = tmp_path / "items.pkl"
    path.write_bytes(b"\x80\x04" + b"]" * 500_000 + b"a" * 499_999 + b".")
    quickly(lambda: list(ClipPickles({"train": path})))
    path.write_bytes(b"\x80\x04" + b"(" * 500_000 + b".")
    quickly(lambda: list(PickledItems(path)))
    quickly(lambda: read_array(path))
    path.write_bytes(b"](dp0\nS'id'\nL" + b"9" * 5000 + b"L\nsa.")
    quickly(lambda: list(ClipPickles({"train": path})))
    digits = b"\x8b" + struct.pack("<i", 200_000) + b"\x7f" * 200_000
    for key in (b"\x8c\x02id", b"\x8c\x02id\x8c\x01a\x8c\x05start"):
        path.write_bytes(b"\x80\x04](}(" + key + digits + b"ue.")
        assert "item 0" in quickly(lambda: list(ClipPickles({"train": path})))


def test_a_tensor_is_no_larger_than_its_bytes(tmp_path):
    import torch

    path = tmp_path / "items.pkl"
    wide = torch.zeros(1).expand(1 << 40)
    path.write_bytes(pickle.dumps([{"id": "a", "audio": wide}]))
    (item,) = PickledItems(path)
    assert "1 numbers for a tensor of shape" in quickly(lambda: values_of(item["audio"]))
    path.write_bytes(pickle.dumps(np.arange(3.0)))
    assert read_array(path).tolist() == [0, 1, 2]
