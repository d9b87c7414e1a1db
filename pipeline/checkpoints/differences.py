"""How the keys of a checkpoint differ from those of a model: every key, in lines few enough to read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from itertools import accumulate

from torch import Tensor

LISTED = 12
"""Up to so many keys are listed one by one."""


def differences(expected: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> str:
    """What is missing, unexpected and of another shape; empty if all fits.

    Args:
        expected: keys and shapes of the model.
        weights: those of the file.
    """
    missing = [key for key in expected if key not in weights]
    unexpected = [key for key in weights if key not in expected]
    reshaped = {
        key: f": {tuple(weights[key].shape)} in the file, {tuple(tensor.shape)} in the model"
        for key, tensor in expected.items()
        if key in weights and weights[key].shape != tensor.shape
    }
    faults = (
        (len(missing), "missing", branches(missing, expected).items()),
        (len(unexpected), "unexpected", branches(unexpected, weights).items()),
        (len(reshaped), "of another shape", branches(list(reshaped), reshaped).items()),
    )
    lines = [
        line
        for count, name, found in faults
        if count
        for line in (f"{count} {name}:", *(f"  {_line(branch, keys, reshaped)}" for branch, keys in found))
    ]
    return "\n".join(lines)


def branches(keys: Collection[str], among: Collection[str]) -> dict[str, list[str]]:
    """Puts keys together whose names begin alike, where there are many.

    `audio.*` stands for those keys of `among` that begin with `audio.`, all of them, so that what is wrong can be told
    from it to the last key; a branch of which only a part is wrong is followed to smaller ones.

    Args:
        keys: some of `among`.
        among: all keys of the model, or of the file.

    Returns:
        Branch, or key that stands alone -> its keys, in the order of `keys`.
    """
    if len(keys) <= LISTED:
        return {key: [key] for key in keys}
    sizes = Counter(prefix for key in among for prefix in _prefixes(key))
    wrong = Counter(prefix for key in keys for prefix in _prefixes(key))
    whole = {prefix for prefix, n in wrong.items() if 1 < n == sizes[prefix] < len(among)}
    found: dict[str, list[str]] = {}
    for key in keys:
        prefix = next((prefix for prefix in _prefixes(key) if prefix in whole), None)
        found.setdefault(key if prefix is None else f"{prefix}*", []).append(key)
    return found


def _prefixes(key: str) -> Iterator[str]:
    """`a.b.c` -> `a.`, `a.b.`."""
    return accumulate(f"{part}." for part in key.split(".")[:-1])


def _line(branch: str, keys: list[str], remarks: Mapping[str, str]) -> str:
    first = f"{keys[0]}{remarks.get(keys[0], '')}"
    if branch == keys[0]:
        return first
    return f"{branch} ({len(keys)} keys" + (f", such as {first})" if keys[0] in remarks else ")")
