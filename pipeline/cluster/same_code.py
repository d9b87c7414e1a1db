"""Workers must run what this process runs: rows of two versions would be stored as one."""

from __future__ import annotations

import hashlib
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from cache.errors import UserError

if TYPE_CHECKING:
    from distributed import Client

PACKAGES = ("torch", "torchaudio", "transformers", "timm", "numpy", "av", "soxr", "dask", "distributed", "polars")


def code_here() -> dict[str, str]:
    """Versions of what computes rows, and a digest of hearonce's own code."""
    found = {"python": ".".join(platform.python_version_tuple()[:2])}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    digest = hashlib.blake2b(digest_size=8)
    root = Path(__file__).parents[2]
    for path in sorted(one for part in ("cache", "pipeline", "stages") for one in (root / part).rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return {**found, "hearonce": digest.hexdigest()}


def check_same_code(client: Client, name: str) -> None:
    """Asks every worker what it runs.

    Raises:
        UserError: one lacks the package, or differs in a version.
    """
    here = code_here()
    try:
        answers = client.run(code_here, on_error="return")
    except Exception as error:  # the scheduler or a worker could not read the question
        answers = {"a worker": error}
    for worker, there in answers.items():
        if not isinstance(there, dict):
            raise UserError(
                f"Worker {worker} of cluster {name!r} cannot run hearonce ({type(there).__name__}: "
                f"{' '.join(str(there).split())}): start it in an environment where hearonce is installed, such as "
                "`uv run dask worker ...` in this project."
            )
        wrong = [f"{one} {there.get(one)} there, {here[one]} here" for one in here if there.get(one) != here[one]]
        if wrong:
            raise UserError(
                f"Worker {worker} of cluster {name!r} does not run what this process runs ({'; '.join(wrong)}): give "
                "both the same environment and the same code."
            )
