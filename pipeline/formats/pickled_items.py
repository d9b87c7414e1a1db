"""A pickle of one long list (or dict) of dicts, read item by item: it may be larger than memory.

A machine of its own for the instructions of a pickle: it makes lists, dicts, numbers, text and bytes, and of what a
pickle may name only the stand-ins of numpy arrays and tensors; nothing else runs. `pickle` itself cannot forget: its
memo holds every array until the end. Here a first pass over the instructions finds the last use of each memo entry, and
an item is handed out and let go as soon as the next begins.
"""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from numpy.typing import NDArray

from cache.errors import UserError
from pipeline.formats.pickled_arrays import TENSORS, PickledArray, PickledTensor, StandIn, allowed

_GET = frozenset(("GET", "BINGET", "LONG_BINGET"))
_PUT = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
_NUMBERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT")
_TEXTS = ("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")
_VALUES = frozenset((*_NUMBERS, *_TEXTS, "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"))
_MADE: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class PickledItems:
    """The items of a pickled list of dicts, or the (key, value) pairs of a pickled dict of dicts, in order.

    Iterating reads the file anew. Arrays and tensors are stand-ins; `values_of` gives their values.

    Args:
        path: the file.
        remedy: what to do if it is no such file.

    Raises:
        UserError: the file is missing, damaged, or names anything but arrays and tensors; also while iterating.
    """

    def __init__(self, path: Path, remedy: str = "fetch it again") -> None:
        self.path = path
        self._remedy = remedy
        self._last_use: dict[int, int] = {}
        for _ in self._guarded(self._look_ahead):
            pass

    def __iter__(self) -> Iterator[Any]:
        return self._guarded(lambda file: _Machine(self._last_use).run(file))

    def _look_ahead(self, file: BinaryIO) -> Iterator[Any]:
        """Finds the instruction that uses each memo entry last, and what is named and not read."""
        for number, (op, arg) in enumerate(_instructions(file)):
            if op.name in _GET:
                self._last_use[int(arg)] = number
            elif op.name == "GLOBAL":
                _named(*str(arg).split(" ", 1))
        yield from ()

    def _guarded(self, read: Callable[[BinaryIO], Iterator[Any]]) -> Iterator[Any]:
        count = 0
        try:
            with self.path.open("rb") as file:
                for item in read(file):
                    yield item
                    count += 1
            return
        except UserError:
            raise
        except FileNotFoundError:
            raise UserError(f"{self.path} is missing: {self._remedy}.") from None
        except OSError as error:
            raise UserError(f"{self.path} cannot be read: {error.strerror}.") from None
        except Exception as error:  # whatever bytes make the machine do
            reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{self.path} cannot be read after item {count} ({reason}): {self._remedy}.")


def values_of(value: Any) -> NDArray[Any]:
    """The numbers of an array or tensor.

    Raises:
        pickle.UnpicklingError: it is something else, or damaged.
    """
    if isinstance(value, PickledArray | PickledTensor):
        return value.array()
    raise pickle.UnpicklingError(f"it holds a {type(value).__name__} where an array is expected")


def _instructions(file: BinaryIO) -> Iterator[tuple[pickletools.OpcodeInfo, Any]]:
    return ((op, arg) for op, arg, _ in pickletools.genops(file))


def _named(module: str, name: str) -> Any:
    return allowed(module, name, TENSORS)


class _Machine:
    """Runs the instructions; `stack` holds what lies above the last mark, `below` what lies under each mark.

    Args:
        last_use: memo entry -> number of the instruction that fetches it last; others are not kept.
    """

    def __init__(self, last_use: dict[int, int]) -> None:
        self._last_use = last_use
        self._memo: dict[int, Any] = {}
        self._memoized = 0
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []
        self._root: Any = None
        self._ready: list[Any] = []

    def run(self, file: BinaryIO) -> Iterator[Any]:
        for number, (op, arg) in enumerate(_instructions(file)):
            name = op.name
            if name in _VALUES:
                self._stack.append(arg)
            elif name in _MADE:
                self._stack.append(_MADE[name]())
                self._begun()
            elif name in _PUT:
                self._remember(int(arg), number)
            elif name == "MEMOIZE":
                self._remember(self._memoized, number)
                self._memoized += 1
            elif name in _GET:
                self._stack.append(self._memo[int(arg)])
                if self._last_use[int(arg)] <= number:
                    del self._memo[int(arg)]
            elif name in _TUPLES:
                self._stack[-_TUPLES[name] :] = [tuple(self._top(_TUPLES[name]))]
            elif name == "GLOBAL":
                self._stack.append(_named(*str(arg).split(" ", 1)))
            else:
                try:
                    act = getattr(self, f"_{name.lower()}")
                except AttributeError:
                    raise pickle.UnpicklingError(f"it holds the instruction {name}, which is not read") from None
                act()
            if self._ready:
                yield from self._ready
                self._ready.clear()

    def _begun(self) -> None:
        """Notes the outermost list or dict, and lets go of its items that are complete because another has begun."""
        stack = self._stack
        if self._root is None and not self._below and len(stack) == 1 and isinstance(stack[0], list | dict):
            self._root = stack[0]
        if len(self._below) != 1 or not isinstance(stack[-1], dict) or self._below[0][-1] is not self._root:
            return
        if isinstance(self._root, list):
            while len(stack) > 1 and isinstance(stack[0], dict) and isinstance(stack[1], dict):
                self._ready.append(stack.pop(0))
        else:
            while len(stack) > 3 and isinstance(stack[1], dict) and isinstance(stack[3], dict):
                self._ready.append((stack.pop(0), stack.pop(0)))

    def _remember(self, index: int, number: int) -> None:
        if self._last_use.get(index, -1) > number:
            self._memo[index] = self._stack[-1]

    def _top(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise pickle.UnpicklingError("an instruction finds too little")
        return self._stack[-count:]

    def _since_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._below.pop()
        return items

    def _proto(self) -> None:
        pass

    _frame = _proto

    def _stop(self) -> None:
        if not isinstance(self._root, list | dict) or self._below or self._stack != [self._root]:
            raise pickle.UnpicklingError("it holds neither a list nor a dict of clips")

    def _mark(self) -> None:
        self._below.append(self._stack)
        self._stack = []

    def _pop(self) -> None:
        self._stack.pop()

    def _pop_mark(self) -> None:
        self._since_mark()

    def _dup(self) -> None:
        self._stack.append(self._stack[-1])

    def _tuple(self) -> None:
        items = tuple(self._since_mark())
        self._stack.append(items)

    def _list(self) -> None:
        items = self._since_mark()
        self._stack.append([])
        self._begun()
        self._extend(items)

    def _dict(self) -> None:
        items = self._since_mark()
        self._stack.append({})
        self._begun()
        self._update(items)

    def _append(self) -> None:
        self._extend([self._stack.pop()])

    def _appends(self) -> None:
        self._extend(self._since_mark())

    def _setitem(self) -> None:
        pair = self._top(2)
        del self._stack[-2:]
        self._update(pair)

    def _setitems(self) -> None:
        self._update(self._since_mark())

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, list):
            raise pickle.UnpicklingError("it appends to something else than a list")
        (self._ready if target is self._root else target).extend(items)

    def _update(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict):
            raise pickle.UnpicklingError("it sets keys of something else than a dict")
        if not all(
            isinstance(key, str | bytes | int | float | None) for key in items[::2]
        ):  # to hash tuples takes long
            raise pickle.UnpicklingError("it has a key that is neither text nor number")
        pairs = zip(items[::2], items[1::2], strict=True)
        if target is self._root:
            self._ready.extend(pairs)
        else:
            target.update(pairs)

    def _stack_global(self) -> None:
        module, name = self._top(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise pickle.UnpicklingError("it names something without a name")
        self._stack[-2:] = [_named(module, name)]

    def _reduce(self) -> None:
        function, arguments = self._top(2)
        if not callable(function) or not isinstance(arguments, tuple):
            raise pickle.UnpicklingError("it calls something that is no function")
        self._stack[-2:] = [function(*arguments)]

    def _build(self) -> None:
        state = self._stack.pop()
        target = self._stack[-1]
        if not isinstance(target, StandIn):
            raise pickle.UnpicklingError(f"it changes a {type(target).__name__}")
        target.__setstate__(state)
