from collections.abc import Iterator
from pathlib import Path

import pytest
from misbehaving_server import Site, serving

from pipeline.remote import download, reading
from pipeline.remote.staging import Staging


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short pauses, and no memory of what other tests have met."""
    monkeypatch.setattr(download, "PAUSE_S", 0.01)
    download._down.clear()
    monkeypatch.setattr(reading, "_SECONDS", {"sock_connect": 5.0, "sock_read": 5.0})


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as site:
        yield site


@pytest.fixture
def staging(tmp_path: Path) -> Staging:
    return Staging(tmp_path / "staging", 10_000_000)
