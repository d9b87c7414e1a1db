"""Which device encodes, and how many processors there are."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from cache.errors import UserError

if TYPE_CHECKING:
    import torch

DEVICE_VARIABLE = "HEARONCE_DEVICE"

Precision = Literal["fp32", "tf32", "bf16", "fp16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


def processors(cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Processors that this process may use: of its affinity mask and of the share that its container was given."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = _quota(cgroups)
    return usable if share is None else max(1, min(usable, round(share)))


def _quota(cgroups: Path) -> float | None:
    """Processors that a cgroup (version 2, else 1) may use at a time."""
    for names in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        try:
            most, period = " ".join((cgroups / name).read_text() for name in names).split()
            return int(most) / int(period) if most not in ("max", "-1") else None
        except (OSError, ValueError, ZeroDivisionError):
            continue
    return None


def pick_device(name: str | None = None) -> torch.device:
    """The device asked for by name or by `$HEARONCE_DEVICE`, else a GPU where there is one, else the CPU.

    Raises:
        UserError: that device is not here.
    """
    # Before torch loads its OpenMP: threads that wait by spinning make a shared machine several times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    torch.set_num_threads(min(torch.get_num_threads(), processors()))  # torch does not know the quota of a container
    name = name or os.environ.get(DEVICE_VARIABLE)
    if not name:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"Device {name!r} cannot be used ({str(error).splitlines()[0]}): try `cpu`.") from None
    return device


def describe(device: torch.device) -> dict[str, Any]:
    """Device and library versions, as provenance of the rows made with them."""
    import torch

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    packages = {package: version(package) for package in ("torch", "torchaudio", "transformers", "timm", "numpy", "av")}
    return {"device": f"{device.type}: {name}", "versions": {"python": platform.python_version(), **packages}}


@contextmanager
def computing(device: torch.device, precision: Precision) -> Iterator[None]:
    """Within this, networks on a GPU compute in a precision; on a CPU always in fp32.

    `fp32` is that throughout, where torch by itself would convolve in tf32. `bf16` and `fp16` are torch's autocast: in
    the main the multiplications.
    """
    import torch

    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = precision == "tf32"
    lower = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision) if device.type == "cuda" else None
    try:
        with torch.autocast(device.type, dtype=lower, enabled=lower is not None):
            yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def check_compiler() -> None:
    """torch.compile writes C++ (for GPUs Triton, with a C stub), which needs a compiler.

    Raises:
        UserError: there is none.
    """
    names = [os.environ.get("CXX"), os.environ.get("CC"), "c++", "g++", "clang++", "cc", "gcc", "clang"]
    if not any(shutil.which(name) for name in names if name):
        raise UserError("--compile needs a C++ compiler, and there is none here: install g++, or do without --compile.")


def is_out_of_memory(error: BaseException) -> bool:
    """The device (or the machine) had no room for what was asked of it; with less at a time it may go well."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    signs = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "can't allocate memory")
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)


def memory_in_use() -> float:
    """The most that torch has held of a GPU's memory, as a share of it; 0 where it has not used a GPU."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return 0.0
    gpus = range(torch.cuda.device_count())
    return max(torch.cuda.max_memory_reserved(gpu) / torch.cuda.get_device_properties(gpu).total_memory for gpu in gpus)


def free_memory() -> None:
    """Gives back what torch keeps of a GPU's memory for later."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
