"""The public door for notebooks and scripts: encoders, cached embeddings, scores and results of a project.

Run it in the folder of a project (the one with `params.yaml`), see docs/python.md. Importing it is cheap; what a
function needs is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cache.artifact import Artifact
    from cache.errors import UserError
    from hearonce.encoding import encoder
    from hearonce.reading import embeddings, results, table
    from hearonce.scoring import score, score_experiment
    from hearonce.searching import search

__all__ = ["Artifact", "UserError", "embeddings", "encoder", "results", "score", "score_experiment", "search", "table"]

_MODULES = {
    "Artifact": "cache.artifact",
    "UserError": "cache.errors",
    "embeddings": "hearonce.reading",
    "encoder": "hearonce.encoding",
    "results": "hearonce.reading",
    "score": "hearonce.scoring",
    "score_experiment": "hearonce.scoring",
    "search": "hearonce.searching",
    "table": "hearonce.reading",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'hearonce' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
