"""The `hearonce checkpoints` commands in a project whose catalogue points at servers of ours."""

from __future__ import annotations

from functools import partial

import pytest
import yaml
from misbehaving_server import serving

from pipeline.remote import download, reading


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(download, "PAUSE_S", 0.01)
    monkeypatch.setattr(reading, "_SECONDS", {"sock_connect": 5.0, "sock_read": 5.0})


@pytest.fixture
def site():
    with serving() as one:
        yield one


@pytest.fixture
def catalogue(project):
    """Writes the catalogue: entries by name, to which a licence and users are added."""

    def write(**entries: dict) -> None:
        filled = {name: {"licence": "none", "used_by": ["tests"], **entry} for name, entry in entries.items()}
        (project / "configs/checkpoints.yaml").write_text(yaml.safe_dump({"checkpoints": filled}))

    return write


@pytest.fixture
def checkpoints(hearonce, monkeypatch, project):
    monkeypatch.setenv("COLUMNS", "400")
    return partial(hearonce, "checkpoints")
