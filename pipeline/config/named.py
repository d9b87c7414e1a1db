"""`configs/`: one YAML file for each thing that a user names."""

from __future__ import annotations

from pathlib import Path

from cache.errors import UserError
from pipeline.console.text import did_you_mean

CONFIGS = Path("configs")
KINDS = {
    "corpora": "corpus",
    "encoders": "encoder",
    "experiments": "experiment",
    "trainings": "training",
    "descriptions": "description",
    "clusters": "cluster",
}
BY_CORPUS = ("experiments", "trainings")
"""Kinds whose files lie in one folder per corpus."""


def named(kind: str, name: str) -> Path:
    """Path of `configs/<kind>/<name>.yaml`; experiments and trainings lie in one folder per corpus below.

    Raises:
        UserError: there is none; says what may have been meant.
    """
    folder = CONFIGS / kind
    if not CONFIGS.is_dir():
        raise UserError(f"{CONFIGS}/ is missing here ({Path.cwd()}): run in the top folder of the project.")
    known = {one.stem: one for one in sorted(folder.glob("*/*.yaml" if kind in BY_CORPUS else "*.yaml"))}
    if name not in known:
        path = folder / ("CORPUS" if kind in BY_CORPUS else "") / f"{name}.yaml"
        raise UserError(f"No {KINDS[kind]} {name!r} ({path} is missing): {did_you_mean(name, known)}")
    return known[name]
