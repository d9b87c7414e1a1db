"""Pickled numpy arrays, as relevancy matrices are published, read without running anything that a pickle may name.

Of what such a file may call, nothing of numpy is: stand-ins collect the shape, the type and the bytes, and the array is
made of these at the end, without a copy.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cache.errors import UserError

MOST_DIMENSIONS = 32
_WITH_KEYS = frozenset(("SETITEM", "SETITEMS", "DICT", "ADDITEMS", "FROZENSET"))


def is_shape(value: object, least: int = 0) -> bool:
    """Whether a value of a pickle is a tuple of sizes (or strides), which costs little to show and to multiply."""
    return (
        isinstance(value, tuple)
        and len(value) <= MOST_DIMENSIONS
        and all(isinstance(one, int) and least <= one < 1 << 63 for one in value)
    )


class StandIn:
    """Takes the place of an object that a pickle names; made of numbers, bytes and text alone."""

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError(f"it changes a {type(self).__name__}")


class _Type(StandIn):
    """Stands for `numpy.dtype`."""

    def __init__(self, name: object, *_: object) -> None:
        self._name = name if isinstance(name, str) else "object"

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 2:
            raise pickle.UnpicklingError("it holds a damaged type")
        if state[1] == ">":
            self._name = f">{self._name.lstrip('<>=|')}"

    def dtype(self, kinds: str = "biuf") -> np.dtype:
        dtype = np.dtype(self._name)
        if dtype.kind not in kinds:
            raise pickle.UnpicklingError(f"it holds values of type {self._name!r}, not numbers")
        return dtype


class PickledArray(StandIn):
    """Stands for `numpy.ndarray`."""

    def __init__(self) -> None:
        self.state: tuple[Any, ...] | None = None

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 4:
            raise pickle.UnpicklingError("it holds a damaged array")
        self.state = state[-4:]

    def array(self) -> NDArray[Any]:
        """The values, read-only; `UnpicklingError` if they are no numbers."""
        if self.state is None:
            raise pickle.UnpicklingError("it holds an array without values")
        try:
            return self._values(self.state)
        except pickle.UnpicklingError:
            raise
        except Exception as error:  # changed bytes may stand for any type, shape and state
            raise pickle.UnpicklingError(f"it holds an array that is damaged ({error})") from None

    @staticmethod
    def _values(state: tuple[Any, ...]) -> NDArray[Any]:
        shape, type_, fortran, data = state
        if isinstance(data, str):  # written by Python 2
            data = data.encode("latin1")
        if not isinstance(type_, _Type):
            raise pickle.UnpicklingError("it holds an array without a type")
        dtype = type_.dtype()
        if not is_shape(shape):
            raise pickle.UnpicklingError("it holds an array whose shape is none")
        if dtype.itemsize * math.prod(shape) != len(data):
            raise pickle.UnpicklingError(f"it holds {len(data)} bytes for an array of shape {shape}")
        return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _reconstruct(*_: object) -> PickledArray:
    return PickledArray()


def _frombuffer(data: Any, type_: Any, shape: Any, order: Any) -> PickledArray:
    result = PickledArray()
    result.state = (shape, type_, order == "F", data)
    return result


def _scalar(type_: Any, data: Any = b"") -> Any:
    """A number or text of numpy as Python's own."""
    return np.frombuffer(data.encode("latin1") if isinstance(data, str) else data, type_.dtype("biufSU"))[0].item()


def _encode(text: str, encoding: str = "latin1") -> bytes:
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): PickledArray,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _no_bytes,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
}


def allowed(module: str, name: str, more: Mapping[tuple[str, str], Any] | None = None) -> Any:
    """The stand-in of what a pickle names.

    Raises:
        pickle.UnpicklingError: there is none.
    """
    found = _ALLOWED.get((module, name)) or (more or {}).get((module, name))
    if found is None:
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is not read")
    return found


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return allowed(module, name)


def _check_instructions(file: BinaryIO) -> None:
    """No array has keys, and to hash a key of tuples within tuples a few bytes take for ever."""
    for op, _, _ in pickletools.genops(file):
        if op.name in _WITH_KEYS:
            raise pickle.UnpicklingError("it holds a dict or a set")


def read_array(path: Path) -> NDArray[Any]:
    """Reads a pickled numpy array of numbers, of any pickle protocol; the array is read-only.

    Args:
        path: a file of one array, e.g. of float64 (clips, captions).

    Raises:
        UserError: the file is missing or damaged, or holds anything else than one array of numbers.
    """
    try:
        with path.open("rb") as file:
            _check_instructions(file)
            file.seek(0)
            found = _Unpickler(file, encoding="latin1").load()
        if isinstance(found, PickledArray):
            return found.array()
        reason = f"it holds a {type(found).__name__}"
    except FileNotFoundError:
        raise UserError(f"{path} is missing.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    except EOFError:
        reason = "it ends too early"
    except Exception as error:  # whatever bytes make the machine of pickle do
        reason = " ".join(str(error).split()) or type(error).__name__
    raise UserError(f"{path} is no pickled numpy array of numbers ({reason}): fetch it again.")


class _Storage(StandIn):
    """Stands for a storage: the bytes that `torch.save` made of it."""

    def __init__(self, data: object = None, *_: object) -> None:
        if not isinstance(data, bytes | bytearray):
            raise pickle.UnpicklingError("it holds a tensor without values")
        self.data = data

    def flat(self) -> NDArray[Any]:
        """All its numbers, (n,); bfloat16 as float32."""
        import torch

        try:
            storage = torch.load(io.BytesIO(self.data), map_location="cpu", weights_only=True)
        except Exception as error:  # whatever bytes make it do
            reason = " ".join(str(error).split())[:120]
            raise pickle.UnpicklingError(f"it holds a tensor that cannot be read safely: {reason}") from None
        if not isinstance(storage, torch.TypedStorage):
            raise pickle.UnpicklingError(f"it holds a {type(storage).__name__} for a tensor")
        values = torch.empty(0, dtype=storage.dtype).set_(storage._untyped_storage)
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()


class PickledTensor(StandIn):
    """Stands for `torch.Tensor`."""

    def __init__(
        self, storage: object, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object
    ) -> None:
        if not isinstance(storage, _Storage):
            raise pickle.UnpicklingError("it holds a tensor without values")
        self._storage, self._offset, self._size, self._stride = storage, offset, size, stride

    def array(self) -> NDArray[Any]:
        """The values; `UnpicklingError` if they are not within the storage or cannot be read safely."""
        flat = self._storage.flat()
        if not is_shape(self._size) or not is_shape(self._stride, -1 << 63) or not is_shape((self._offset,), -1 << 63):
            raise pickle.UnpicklingError(f"it holds {len(flat)} numbers for a tensor whose shape is none")
        if math.prod(self._size) > len(flat):
            raise pickle.UnpicklingError(f"it holds {len(flat)} numbers for a tensor of shape {self._size}")
        try:
            strides = tuple(step * flat.itemsize for step in self._stride)
            return np.ndarray(self._size, flat.dtype, flat.data, self._offset * flat.itemsize, strides)
        except (TypeError, ValueError, OverflowError):
            raise pickle.UnpicklingError(f"it holds {len(flat)} numbers for a tensor of shape {self._size}") from None


def _no_hooks(*arguments: object) -> dict[Any, Any]:
    if arguments not in ((), ([],)):
        raise pickle.UnpicklingError("it holds a tensor with hooks")
    return {}


TENSORS: dict[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_tensor"): PickledTensor,
    ("torch._utils", "_rebuild_tensor_v2"): PickledTensor,
    ("torch.storage", "_load_from_bytes"): _Storage,
    ("collections", "OrderedDict"): _no_hooks,
}
"""What a pickled tensor names; its backward hooks are an empty OrderedDict."""
