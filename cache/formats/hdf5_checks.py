"""Opens HDF5 files that may come from anybody, or that another program has open, before an array of them is read.

An HDF5 file may take its numbers from other files (external links, external storage, virtual datasets), have them made
by filters, or claim far more of them than it holds. A file of ours has none of that.
"""

from __future__ import annotations

import errno
import math
import re
from typing import Any

import h5py
import numpy as np

from cache.errors import Damage, FalseClaim, Unreadable, UserError, unreadable

ATTRIBUTE = b"hearonce"
MOST_ID_BYTES = 1 << 16

_MARKED = "already open for write"
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)


def open_file(path: str, source: Any) -> Any:
    """Opens a file for reading.

    Args:
        path: for messages.
        source: what h5py opens.

    Raises:
        Unreadable: another program has it open for writing, or the operating system refuses.
        OSError: it is no HDF5 file, or a damaged one.
    """
    try:
        return h5py.File(source, "r")
    except OSError as error:
        number = error.errno or _number(error)
        if "unable to lock file" in str(error) and number in _NO_LOCKS:
            return h5py.File(source, "r", locking=False)  # a file of ours is never written again, so none is needed
        if refused := _refused(path, error, number):
            raise refused from None
        raise


def _number(error: OSError) -> int | None:
    found = re.search(r"errno = (\d+)", str(error))
    return int(found[1]) if found else None


def _refused(path: str, error: OSError, number: int | None) -> Unreadable | None:
    if number in (errno.EAGAIN, errno.EACCES) and "unable to lock file" in str(error):
        return Unreadable(f"{path} cannot be read: another program has it open for writing: close it there first.")
    if _MARKED in str(error):
        return Unreadable(
            f"{path} cannot be read: another program has it open for writing, or was ended before it closed it: close "
            f"it there, or, if no program has it, remove that mark with `h5clear -s {path}` (of the HDF5 tools)."
        )
    if number in (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        return unreadable(path, OSError(number, error.strerror if error.errno else str(error)))
    return None


def description(file: Any, path: str, size: int) -> bytes | None:
    """The text `hearonce` of a file; None if it has none.

    Raises:
        FalseClaim: it is no text of fixed length, or longer than the file.
    """
    if not h5py.h5a.exists(file.id, ATTRIBUTE):
        return None
    attribute = h5py.h5a.open(file.id, ATTRIBUTE)
    kind = attribute.get_type()
    fixed = isinstance(kind, h5py.h5t.TypeStringID) and not kind.is_variable_str()
    if not fixed or attribute.get_space().get_simple_extent_type() != h5py.h5s.SCALAR or kind.get_size() > size:
        raise FalseClaim([Damage(path, None, "has an attribute `hearonce` that is no text of fixed length")])
    return bytes(file.attrs["hearonce"])


def check_arrays(file: Any, path: str, size: int, arrays: dict[str, tuple[tuple[int | None, ...], np.dtype]]) -> None:
    """Refuses arrays that are not of the file itself, or not what its description says.

    Args:
        file: of h5py.
        path: for messages.
        size: of the file, in bytes.
        arrays: name -> shape and type; a length of None may be any. `ids` are text of fixed length.

    Raises:
        FalseClaim: one is not so.
    """
    total = 0
    for name, (shape, dtype) in arrays.items():
        total += _check_array(file, path, name, shape, dtype)
    if total > size:
        raise FalseClaim([Damage(path, None, f"claims arrays of {total:,} bytes, and is one of {size:,}")])


def _check_array(file: Any, path: str, name: str, shape: tuple[int | None, ...], dtype: np.dtype) -> int:
    def refuse(reason: str) -> FalseClaim:
        return FalseClaim([Damage(path, None, f"has an array {name} that {reason}")])

    key = name.encode()
    if not file.id.links.exists(key):
        raise KeyError(f"{name} is not there")
    if file.id.links.get_info(key).type != h5py.h5l.TYPE_HARD:
        raise refuse("is a link to something else")
    if h5py.h5o.get_info(file.id, key).type != h5py.h5o.TYPE_DATASET:
        raise refuse("is no dataset")
    dataset = h5py.h5d.open(file.id, key)
    made = dataset.get_create_plist()
    if made.get_layout() not in (h5py.h5d.CHUNKED, h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT):
        raise refuse("is virtual: its numbers lie in other files")
    if made.get_external_count():
        raise refuse("has its numbers in other files")
    filters = {made.get_filter(i)[0] for i in range(made.get_nfilters())}
    if filters - {h5py.h5z.FILTER_FLETCHER32}:
        raise refuse(f"needs filters ({', '.join(map(str, sorted(filters)))}), which no file of hearonce has")
    kind, claimed = dataset.get_type(), dataset.get_space().get_simple_extent_dims()
    if name == "ids":
        good = isinstance(kind, h5py.h5t.TypeStringID) and not kind.is_variable_str()
        good = good and kind.get_size() <= MOST_ID_BYTES
    else:
        good = isinstance(kind, (h5py.h5t.TypeIntegerID, h5py.h5t.TypeFloatID)) and kind.dtype == dtype
    if not good:
        raise refuse("has another type than its description says")
    if (
        claimed is None
        or len(claimed) != len(shape)
        or any(a not in (b, None) for a, b in zip(shape, claimed, strict=True))
    ):
        raise refuse(f"claims the shape {claimed}, which is not that of its description")
    return math.prod(claimed) * int(kind.get_size())


def not_ours(path: str) -> UserError:
    """Says that something is no file of hearonce."""
    return UserError(f"{path} is no embedding cache of hearonce.")
