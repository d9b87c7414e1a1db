"""Strict loading of published PyTorch checkpoints.

Nothing but tensors is ever unpickled (`weights_only`), every key has to fit, and a file that does not
fit is refused with one error that lists all that is wrong with it.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from cache.durable import new_file
from cache.errors import UserError
from pipeline.checkpoints.catalogue import HEAD_BYTES, stand_in
from pipeline.checkpoints.official import not_found

WRAPPERS = ("state_dict", "model")
"""Top-level names under which checkpoints keep their weights, the first that is there wins."""

DISTRIBUTED_PREFIX = "module."
"""What `DistributedDataParallel` puts before every key."""


ZIP_START = b"PK\x03\x04"
PICKLE_START = b"\x80"


class CheckpointError(UserError):
    """A checkpoint that cannot be used; the message names the file, the fault and what to do."""


def read_state_dict(path: Path, *, wrappers: Iterable[str] = WRAPPERS) -> dict[str, Tensor]:
    """Reads the weights of a checkpoint file onto the CPU.

    Args:
        path: a file written by `torch.save`: a state dict, or a dictionary that holds one.
        wrappers: names under which the state dict may lie, in order of preference.

    Returns:
        The state dict without a `module.` prefix. Its tensors may be mapped from the file: copy
        them (`load_strictly` does) rather than change them.

    Raises:
        CheckpointError: the file is missing, cut short, or something else than a checkpoint.
    """
    _check_file(path)
    holder = _torch_load(path)
    if not isinstance(holder, Mapping):
        raise CheckpointError(f"{path} holds a {type(holder).__name__}, not a dictionary of weights")
    weights = _unwrap(holder, path, tuple(wrappers))
    if all(key.startswith(DISTRIBUTED_PREFIX) for key in weights):
        return {key.removeprefix(DISTRIBUTED_PREFIX): value for key, value in weights.items()}
    return weights


def read_files(paths: Iterable[Path]) -> dict[str, Tensor]:
    """Reads the weights of one file or of several shards, safetensors or written by `torch.save`, onto the CPU.

    Raises:
        CheckpointError: a file is missing, cut short, or something else than weights.
    """
    weights: dict[str, Tensor] = {}
    for path in paths:
        weights.update(_read_safetensors(path) if path.suffix == ".safetensors" else read_state_dict(path))
    return weights


def drop_position_ids(weights: dict[str, Tensor], path: Path) -> None:
    """Removes 0, 1, 2, ... from older files: a constant that current transformers no longer saves.

    Raises:
        CheckpointError: the positions are counted in another way.
    """
    for key in [key for key in weights if key.endswith("embeddings.position_ids")]:
        ids = weights.pop(key)
        if not torch.equal(ids.flatten().long(), torch.arange(ids.numel())):
            raise CheckpointError(f"{path}: {key} are not 0, 1, 2, ..., as the model counts")


def first_line(error: Exception) -> str:
    """What an exception of another library says first, short enough to stand in a sentence of ours."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return line.split(". ", 1)[0].removesuffix(".")


def check_fit(expected: Mapping[str, Tensor], weights: Mapping[str, Tensor], path: Path, architecture: str) -> None:
    """Compares names and shapes with those of a model, and lists every difference in one error.

    Raises:
        CheckpointError: a key is missing, unexpected, or of another shape.
    """
    if found := differences(expected, weights):
        raise CheckpointError(f"{path} is not a checkpoint of {architecture}\n{found}")


def load_strictly(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    path: Path,
    architecture: str,
    *,
    skip: Callable[[str], bool] = lambda key: False,
) -> None:
    """Copies weights into a model after checking that every key of both fits.

    Args:
        model: the model to fill.
        weights: what `read_state_dict` returned.
        path: the file they came from, for the error.
        architecture: what the model is, for the error.
        skip: keys that are checked but not copied (parts that stay on the meta device).

    Raises:
        CheckpointError: the keys do not fit, or a weight is NaN.
    """
    check_fit(model.state_dict(), weights, path, architecture)
    taken = {key: weights[key] for key in weights if not skip(key)}
    check_numbers(taken, path)
    model.load_state_dict(taken, strict=False)


def check_numbers(weights: Mapping[str, Tensor], path: Path) -> None:
    """Refuses NaN: fast ReLUs make 0 of it, so that rows would be finite and wrong.

    Raises:
        CheckpointError: a weight is NaN.
    """
    if broken := [key for key, value in weights.items() if _has_nan(value)]:
        raise CheckpointError(
            f"{path} holds NaN in {broken[0]}"
            + (f" and {len(broken) - 1} more" if len(broken) > 1 else "")
            + ": its training diverged, or it is damaged; take another file"
        )


def save_weights(model: nn.Module, path: Path) -> None:
    """Writes a bare state dict, whole or not at all; equal weights give equal bytes."""
    with new_file(path) as temporary, temporary.open("wb") as file:  # by a path, its random name would be in the bytes
        torch.save(model.state_dict(), file)


def _has_nan(weights: Tensor) -> bool:
    """By their sum first, which takes no memory."""
    if not weights.is_floating_point() or weights.is_meta:
        return False
    return bool(weights.sum(dtype=torch.float32).isnan()) and bool(weights.isnan().any())


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder, not a checkpoint file")
    if not path.exists():
        raise CheckpointError(not_found(path))
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if wrong := stand_in(head):
        raise CheckpointError(f"{path} is {wrong}: fetch it again")
    if not head.startswith((ZIP_START, PICKLE_START)):
        raise CheckpointError(f"{path} is not a PyTorch checkpoint: it starts with {head[:8]!r}")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError:
        raise CheckpointError(f"checkpoint not found: {path}") from None
    except (SafetensorError, OSError) as error:
        raise CheckpointError(_damage(path, error)) from error


def _torch_load(path: Path) -> Any:
    try:
        mapped = zipfile.is_zipfile(path)  # a damaged one may raise BadZipFile
        with torch.serialization.safe_globals([*_numpy_globals(), *_TRAINING_RECORDS]), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            warnings.filterwarnings("ignore", message="'torch.load' received a zip file")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise CheckpointError(_load_fault(path, error)) from error


def _load_fault(path: Path, error: Exception) -> str:
    refused = [line.strip() for line in str(error).splitlines() if "Unsupported" in line]
    if isinstance(error, pickle.UnpicklingError) and refused:
        return (
            f"{path} holds more than tensors, and what it holds is not unpickled because that could run code "
            f"({refused[0]}). If you trust the file, rewrite it once: python -c "
            "\"import torch; c = torch.load('IN', weights_only=False, map_location='cpu'); "
            "torch.save(c.get('state_dict', c.get('model', c)), 'OUT')\""
        )
    if "TorchScript" in str(error):
        return (
            f"{path} is a TorchScript archive, as OpenAI published CLIP: a program, which is not run. Take the model's "
            'weights as safetensors from the hub, or, if you trust the file, rewrite it: python -c "import torch; '
            "c = torch.jit.load('IN', map_location='cpu').state_dict(); torch.save({k: v for k, v in c.items() "
            "if k not in ('input_resolution', 'context_length', 'vocab_size')}, 'OUT')\""
        )
    return _damage(path, error)


def _damage(path: Path, error: Exception) -> str:
    return f"{path} is cut short or damaged ({path.stat().st_size} bytes): fetch it again ({first_line(error)})"


def _unwrap(holder: Mapping[Any, Any], path: Path, wrappers: tuple[str, ...]) -> dict[str, Tensor]:
    found = next((name for name in wrappers if isinstance(holder.get(name), Mapping)), None)
    weights = dict(holder if found is None else holder[found])
    if weights and all(isinstance(value, Tensor) for value in weights.values()):
        return weights
    names = ", ".join(str(key) for key in list(weights)[:8]) or "nothing"
    place = "at its top level" if found is None else f"under {found!r}"
    raise CheckpointError(f"{path} has no state dict {place} (looked under {', '.join(wrappers)}; it holds: {names})")


class _Record:
    """Stands for an object that a training loop saved beside the weights: whatever it was, nothing of it is made."""

    def __init__(self, *arguments: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


_TRAINING_RECORDS = [
    (_Record, name)
    for name in ("parse_config.ConfigParser", "argparse.Namespace", "pathlib.PosixPath", "pathlib._local.PosixPath")
]
"""What the template of EgoVLP, FrozenInTime and others saves as `config`; the names are not imported."""


def _numpy_globals() -> list[Any]:
    """Harmless numpy scalars that training loops leave beside the weights (a best loss, a metric)."""
    scalar = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "?")]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    return [np.dtype, *kinds, *((scalar, name) for name in names)]


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


def _line(branch: str, keys: list[str], notes: Mapping[str, str]) -> str:
    first = f"{keys[0]}{notes.get(keys[0], '')}"
    if branch == keys[0]:
        return first
    return f"{branch} ({len(keys)} keys" + (f", such as {first})" if keys[0] in notes else ")")
