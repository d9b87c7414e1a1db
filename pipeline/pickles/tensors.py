"""Tensors of PyTorch inside a plain pickle, read without running anything that it names.

Such a pickle calls `torch.storage._load_from_bytes`, which would unpickle the bytes of the storage once more, without
limits. Here they go through `torch.load(weights_only=True)`, and only when the values are asked for.
"""

from __future__ import annotations

import io
import math
import pickle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.pickles.arrays import StandIn, is_shape


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
