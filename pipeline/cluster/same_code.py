"""Workers must run what this process runs: rows of two versions would be stored as one."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from cache.errors import UserError

if TYPE_CHECKING:
    from distributed import Client

PACKAGES = ("torch", "torchaudio", "transformers", "timm", "numpy", "av", "soxr", "dask", "distributed", "polars")


@lru_cache(1)  # what a worker has imported stays, whatever happens to the files
def code_here() -> Mapping[str, str]:
    """Versions of what computes rows, and a digest of hearonce's own code."""
    found = {"python": ".".join(platform.python_version_tuple()[:2])}
    for package in PACKAGES:
        try:
            found[package] = version(package).partition("+")[0]  # 2.11.0+cpu and 2.11.0+cu128 are one version
        except PackageNotFoundError:
            found[package] = "none"
    digest = hashlib.blake2b(digest_size=8)
    root = Path(__file__).parents[2]
    for path in sorted(one for part in ("cache", "pipeline", "stages") for one in (root / part).rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return {**found, "hearonce": digest.hexdigest()}


def differences(there: Mapping[str, str], here: Mapping[str, str]) -> str:
    """In what two differ; empty if in nothing."""
    return "; ".join(f"{one} {there.get(one)} there, {here[one]} here" for one in here if there.get(one) != here[one])


def check_same_code(client: Client, name: str) -> None:
    """Asks the scheduler and every worker what they run. Workers that come later say so with their first task.

    Raises:
        UserError: one lacks the package, or a worker differs in a version.
    """
    try:
        client.run_on_scheduler(code_here)
    except Exception as error:
        raise _cannot_run(f"The scheduler of cluster {name!r}", error, "dask scheduler") from None
    try:
        answers = client.run(code_here, on_error="return")
    except Exception as error:  # a worker could not even read the question
        answers = {"": error}
    for worker, there in answers.items():
        who = f"Worker {worker} of cluster {name!r}" if worker else f"A worker of cluster {name!r}"
        if isinstance(there, BaseException):
            raise _cannot_run(who, there, "dask worker")
        if wrong := differences(there, code_here()):
            raise UserError(
                f"{who} does not run what this process runs ({wrong}): give both the same environment and the same "
                "code, and start workers anew after a change."
            )


def _cannot_run(who: str, error: BaseException, command: str) -> UserError:
    said = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return UserError(
        f"{who} cannot run hearonce ({said}): start it in an environment where hearonce is installed, such as "
        f"`uv run {command} ...` in this project."
    )
